"""What is wrong with the user's data or options: one line that names it, and nothing half-made left behind."""

import shutil
import sys
import time
from unittest import mock

import numpy as np
import pytest
from entry_point import error_of
from tiny_experiment import (
    call,
    change,
    decode_arguments,
    token_list_arguments,
    train_and_average,
    train_arguments,
    write_corpus,
    write_wav,
)

from whisper_er.bin import average, decode, run, token_list, train
from whisper_er.data import kaldi


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A corpus and a trained model in exp."""
    root = write_corpus(tmp_path_factory.mktemp("bad_input") / "corpus")
    train_and_average(root, root / "exp", "max_steps=2")
    return root


@pytest.fixture
def root(original, tmp_path):
    """A copy to spoil; its wav.scp still names the audio of the original."""
    return shutil.copytree(original, tmp_path / "copy", ignore=shutil.ignore_patterns("wav"), symlinks=True)


@pytest.fixture
def error(capfd):
    """Run an entry point to the exit that a shell sees; returns its one line on standard error."""

    def error(entry_point, *arguments) -> str:
        capfd.readouterr()
        argv = mock.patch.object(sys, "argv", [entry_point.__name__, *map(str, arguments)])
        with argv, pytest.raises(SystemExit) as exit_:
            run(entry_point.main)
        line = exit_.value.code  # a string: Python prints it and exits with 1
        assert isinstance(line, str) and line.startswith("error: ") and len(line.splitlines()) == 1, line
        assert capfd.readouterr().err == ""
        return line

    return error


@pytest.fixture
def train_error(root, error):
    """The line of a training that is refused before it has made anything."""

    def train_error(*more) -> str:
        line = error(train, *train_arguments(root, root / "new", *more))
        assert not (root / "new").exists()
        return line

    return train_error


@pytest.fixture
def decode_error(root, error):
    def decode_error(*more) -> str:
        line = error(decode, *decode_arguments(root, root / "exp", root / "hyp", *more))
        assert [path.name for path in root.iterdir() if "hyp" in path.name] == []
        return line

    return decode_error


@pytest.fixture
def token_list_error(root, error):
    def token_list_error(*more) -> str:
        line = error(token_list, *token_list_arguments(root, "--out_dir", root / "new", *more))
        assert [path.name for path in root.iterdir() if "new" in path.name] == []
        return line

    return token_list_error


# Data


def test_a_label_outside_the_token_list_is_named_with_its_set_and_the_allowed_ones(root, train_error):
    change(root / "valid", "utt2emotion", valid_01="bored")
    line = train_error()
    for part in (f"{root}/valid", "valid-01", "utt2emotion", "'bored'", "happy sad"):
        assert part in line


def test_audio_that_is_gone_is_found_while_training_reads_it_and_named(root, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # leaves a core to the reading process
    missing = root / "gone.wav"
    change(root / "train", "wav.scp", train_07=str(missing))
    short = ["num_workers=2", "max_steps=4"]
    line = error_of("train", *train_arguments(root, root / "new", *short))
    assert "train-07" in line and str(missing) in line and "no such file" in line
    assert not (root / "new/checkpoints/best.json").exists() and not list((root / "new").rglob("*.safetensors"))
    write_wav(missing, int(kaldi.read_table(root / "train/utt2num_samples")["train-07"]), np.random.default_rng(0))
    train_and_average(root, root / "new", *short)  # put back, it goes on


def test_audio_that_is_gone_from_the_validation_set_is_named(root, error):
    change(root / "valid", "wav.scp", valid_01="gone.wav")
    line = error(train, *train_arguments(root, root / "new"))
    assert "valid-01" in line and "gone.wav" in line
    assert not (root / "new/checkpoints/best.json").exists()


def test_a_number_of_samples_that_the_audio_does_not_have_is_named(root, error):
    change(root / "train", "utt2num_samples", train_03="4321")
    line = error(train, *train_arguments(root, root / "new"))
    assert "train-03" in line and "4321" in line and "utt2num_samples" in line
    change(root / "test", "utt2num_samples", test_03="4321")
    assert "test-03" in error(decode, *decode_arguments(root, root / "exp", root / "hyp"))
    assert not (root / "hyp").exists()


def test_a_number_of_samples_that_is_no_number_is_named(root, train_error):
    change(root / "train", "utt2num_samples", train_03="many")
    line = train_error()
    assert f"{root}/train/utt2num_samples" in line and "train-03" in line and "many" in line


def test_a_set_that_did_not_go_through_stage_1_is_sent_there(root, train_error):
    (root / "valid/utt2num_samples").unlink()
    assert f"{root}/valid/utt2num_samples: no such file; run stage 1" in train_error()


def test_an_empty_set_is_named(root, train_error, decode_error):
    for name in ("test", "valid"):
        for path in (root / name).iterdir():
            path.write_text("")
    assert f"{root}/valid: the set is empty" in train_error()
    assert f"{root}/test: the set is empty" in decode_error()


def test_a_table_of_a_task_that_is_missing_is_named(root, train_error):
    (root / "train/utt2gender").unlink()
    assert f"{root}/train/utt2gender: no such file" in train_error()


def test_a_text_longer_than_the_decoder_is_named_with_both_lengths(root, error):
    change(root / "train", "text", train_02=" ".join(["three two one"] * 20))
    line = error(train, *train_arguments(root, root / "new"))
    assert "train-02" in line and "the decoder 40 positions" in line
    assert not (root / "new/checkpoints/best.json").exists()


@pytest.fixture
def long_audio(root):
    """31 s in the training and in the test set."""
    write_wav(root / "long.wav", 31 * 16000, np.random.default_rng(0))
    for name, utt_id in (("train", "train_04"), ("test", "test_02")):
        change(root / name, "wav.scp", **{utt_id: str(root / "long.wav")})
        change(root / name, "utt2num_samples", **{utt_id: str(31 * 16000)})
    return root


def test_audio_over_30_s_is_an_error_that_names_it_and_the_way_out(long_audio, train_error, decode_error):
    line = train_error()
    assert "train-04 (31.0 s)" in line and "model.long_audio=truncate" in line
    assert "test-02 (31.0 s)" in decode_error()


def test_audio_over_30_s_is_cut_and_named_where_that_is_asked_for(long_audio, capfd):
    root, cut = long_audio, ["model.long_audio=truncate", "max_steps=1", "batch_size=11"]
    train_and_average(root, root / "new", *cut)
    call(decode, *decode_arguments(root, root / "new", root / "hyp"))
    log = capfd.readouterr().out
    assert f"{root}/train: 1 utterances cut to 30 s: train-04 (31.0 s)" in log
    assert f"{root}/test: 1 utterances cut to 30 s: test-02 (31.0 s)" in log
    assert "test-02" in kaldi.read_table(root / "hyp/utt2emotion")


# Options and configuration


@pytest.mark.parametrize(
    "override, parts",
    [
        ("max_step=3", ("train.yaml", "'max_step'", "max_steps")),
        ("max_steps", ("'max_steps'", "key=value")),
        ("max_steps=-1", ("max_steps", "0 and more")),
        ("batch_size=0", ("batch_size", "1 and more")),
        ("valid_task=valence", ("valid_task", "'valence'", "asr gender emotion")),
        ("model.kind=encoder_classifier", ("encoder_classifier", "'asr'")),
        ("model.whisper_sizes.d_modell=3", ("whisper_sizes", "'d_modell'")),
        ("model.whisper_sizes={}", ("whisper_model", "whisper_sizes")),
        ("model.pad=to 31", ("pad", "'to 31'", "+<seconds>")),
        ("model.kind=transducer", ("kind", "'transducer'", "seq2seq encoder_classifier")),
        ("optim.lr_factors={head_: 10}", ("lr_factors", "'head_'")),
    ],
)
def test_a_configuration_that_cannot_be_trained_is_explained_before_anything_is_made(train_error, override, parts):
    line = train_error(override)
    for part in parts:
        assert part in line


def test_an_unknown_key_in_the_file_is_named_with_the_nearest(root, train_error, decode_error):
    with open(root / "train.yaml", "a") as file:
        file.write("learning_rate: 1\nvalid_intervall: 3\n")
    assert "unknown key 'learning_rate'" in train_error()
    (root / "decode.yaml").write_text("beam: 4\n")
    assert "decode.yaml: unknown key 'beam'; did you mean 'beam_size'?" in decode_error()


def test_an_unknown_decoding_override_and_a_beam_of_nothing_are_named(decode_error):
    assert "unknown key 'beam_sizes'; did you mean 'beam_size'?" in decode_error("beam_sizes=3")
    assert "beam_size: 0" in decode_error("beam_size=0")


@pytest.mark.parametrize("entry_point", [train, decode, average, token_list])
def test_an_unknown_or_missing_option_exits_with_2(entry_point, capfd):
    for arguments in ([], ["--no_such_option", "1"]):
        with pytest.raises(SystemExit) as exit_:
            call(entry_point, *arguments)
        assert exit_.value.code == 2
    assert "required" in capfd.readouterr().err


def test_a_gpu_that_is_not_there_is_an_error(train_error, decode_error):
    with mock.patch("torch.cuda.is_available", return_value=False):
        for line in (train_error("--ngpu", 1), decode_error("--ngpu", 1)):
            assert "ngpu=1" in line and "ngpu=0" in line


def test_an_unreachable_hub_is_given_up_in_seconds(root):
    start = time.monotonic()
    model = "no-such-organisation/no-such-model"
    more = ["--token_type", "whisper", "--whisper_model", model, "--out_dir", root / "new"]
    line = error_of("token_list", *token_list_arguments(root, *more))
    assert f"whisper_model '{model}' cannot be loaded" in line and "give a directory" in line
    assert time.monotonic() - start < 40
    assert not (root / "new").exists()


@pytest.mark.parametrize("name", ["no/such/directory", "empty"])
def test_a_whisper_model_that_is_no_model_is_named(root, train_error, token_list_error, name):
    (root / "empty").mkdir()
    more = ["--whisper_model", root / name]
    assert str(root / name) in train_error(*more, "model.whisper_sizes={}")
    assert str(root / name) in token_list_error("--token_type", "whisper", *more)


@pytest.mark.parametrize(
    "options, parts",
    [
        (["--bpe_size", 5000], ("bpe_size=5000", "SentencePiece")),
        (["--bpe_size", 1], ("bpe_size=1:", "SentencePiece")),
        (["--token_type", "whisper"], ("whisper_model",)),
        (["--tasks", "asr asr"], ("asr asr",)),
        (["--tasks", ""], ("at least one task",)),
        (["--tasks", "asr valence"], ("utt2valence: no such file",)),
        (["--scales", "gender"], ("'gender'", "name=low:high:bins")),
        (["--scales", "gender=1:5"], ("'gender=1:5'", "name=low:high:bins")),
        (["--scales", "gender=1:5:many"], ("gender=1:5:many", "name=low:high:bins")),
        (["--scales", "gender=5:1:9"], ("gender=5:1:9", "low < high")),
        (["--scales", "gender=1:5:1"], ("gender=1:5:1", "2 bins")),
        (["--scales", "valence=1:5:9"], ("'valence' is not among the tasks",)),
    ],
)
def test_a_token_list_that_cannot_be_made_is_explained(token_list_error, options, parts):
    line = token_list_error(*options)
    for part in parts:
        assert part in line


def test_a_label_that_only_a_test_speaker_has_is_named_with_what_to_change(root, token_list_error):
    sets = [root / name for name in ("train", "valid", "test")]
    for path in sets:
        kaldi.write_table(path / "utt2speaker", kaldi.read_table(path / "utt2spk"))
    line = token_list_error("--tasks", "speaker", "--check_sets", *sets)
    for part in (f"{root}/valid: valid-00: utt2speaker: 'valid-speaker'", f"the labels of {root}/train",
                 "change the folds", "--allow_shared_speakers true"):  # fmt: skip
        assert part in line


def test_numbers_are_not_taken_for_a_category_and_have_to_lie_on_the_scale(root, token_list_error):
    ids = list(kaldi.read_table(root / "train/utt2spk"))
    kaldi.write_table(root / "train/utt2valence", dict.fromkeys(ids, "3") | {ids[0]: "4.5", ids[1]: ""})
    tasks = ("--tasks", "valence", "--check_sets", root / "train")
    line = token_list_error(*tasks)
    assert "utt2valence: its labels are numbers such as 4.5" in line and "--scales valence=low:high:bins" in line
    line = token_list_error(*tasks, "--scales", "valence=1:4:4")
    assert "train-00: utt2valence: 4.5 lies outside the scale 1..4" in line and "--scales has to span them" in line


# Stages out of order, and what they left behind


def test_averaging_before_training_names_what_is_missing(root, error):
    (root / "new").mkdir()
    assert f"{root}/new/checkpoints/best.json: no such file" in error(average, "--exp_dir", root / "new")
    assert list((root / "new").iterdir()) == []


def test_decoding_before_averaging_names_what_is_missing(root, decode_error):
    (root / "exp/ave.safetensors").unlink()
    line = decode_error()
    assert f"{root}/exp/ave.safetensors: no such file; run stages 3 and 4" in line


def test_training_before_the_token_list_names_what_is_missing(root, train_error):
    shutil.rmtree(root / "token_list")
    assert f"{root}/token_list/token_list.yaml: no such file; stage 2 writes it" in train_error()


@pytest.mark.parametrize("keep", [0, 4, 3000])
def test_a_truncated_model_is_named(root, decode_error, keep):
    path = root / "exp/ave.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    assert f"{path}: cannot be read as safetensors" in decode_error()


def test_a_model_of_another_configuration_does_not_fit(root, decode_error):
    train_and_average(root, root / "new", "max_steps=2", "model.whisper_sizes.encoder_layers=2")
    shutil.copyfile(root / "new/ave.safetensors", root / "exp/other.safetensors")
    line = decode_error("--model", "other.safetensors")
    assert f"{root}/exp/other.safetensors: does not fit" in line


def test_a_directory_that_is_no_hypothesis_directory_is_not_overwritten(root, error):
    (root / "hyp").mkdir()
    (root / "hyp/thesis.tex").write_text("years of work")
    line = error(decode, *decode_arguments(root, root / "exp", root / "hyp"))
    assert f"{root}/hyp: exists and is something else" in line
    assert (root / "hyp/thesis.tex").read_text() == "years of work"
