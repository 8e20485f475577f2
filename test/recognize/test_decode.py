"""Stage 5: a dump directory in, a hypothesis directory like the reference out."""

import json
import shutil

import numpy as np
import pytest
from tiny_experiment import call, decode_arguments

from whisper_er.bin import decode
from whisper_er.data import kaldi

TABLES = {"text", "utt2spk", "utt2gender", "utt2emotion"}


@pytest.fixture(scope="module")
def hyp(trained, tmp_path_factory):
    hyp = tmp_path_factory.mktemp("decode") / "hyp"
    call(decode, *decode_arguments(trained, trained / "exp", hyp))
    return hyp


def posteriors(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "posteriors.jsonl").read_text(encoding="utf-8").splitlines()]


def close(a, b) -> bool:
    """Equal nested results, numbers within float error."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    return a == b if isinstance(a, str) else np.isclose(a, b, rtol=1e-4, atol=1e-5)


def test_every_table_has_exactly_the_ids_of_the_reference(trained, hyp):
    reference, found = kaldi.read_dir(trained / "test"), kaldi.read_dir(hyp)
    assert found.keys() == TABLES
    for table in TABLES:
        assert list(found[table]) == sorted(reference["text"])
    assert found["utt2spk"] == reference["utt2spk"]
    assert [line["utt_id"] for line in posteriors(hyp)] == sorted(reference["text"])
    assert {path.name for path in hyp.iterdir()} == TABLES | {"posteriors.jsonl", "decode.json"}


def test_labels_are_of_the_token_list_and_posteriors_add_up_to_one(hyp):
    found = kaldi.read_dir(hyp)
    assert set(found["utt2gender"].values()) <= {"male", "female"}
    assert set(found["utt2emotion"].values()) <= {"sad", "happy"}
    for line in posteriors(hyp):
        assert line["gender"].keys() == {"female", "male"} and line["emotion"].keys() == {"happy", "sad"}
        assert sum(line["gender"].values()) == pytest.approx(1) == sum(line["emotion"].values())


def test_the_protocol_says_which_model_and_which_settings(hyp):
    how = json.loads((hyp / "decode.json").read_text())
    assert how["model"] == "valid_emotion_accuracy.ave_2best.safetensors"
    assert (how["beam_size"], how["posterior"]) == (2, "marginal")


def test_no_label_of_the_data_directory_is_read(trained, hyp, tmp_path):
    unknown = shutil.copytree(trained / "test", tmp_path / "unknown")
    for table, value in (("text", "words outside <|happy|>"), ("utt2emotion", "bored"), ("utt2gender", "other")):
        kaldi.write_table(unknown / table, dict.fromkeys(kaldi.read_table(unknown / table), value))
    without = shutil.copytree(trained / "test", tmp_path / "without")
    for table in ("text", "utt2emotion", "utt2gender"):
        (without / table).unlink()
    for data_dir in (unknown, without):
        out_dir = tmp_path / f"hyp_{data_dir.name}"
        call(decode, *decode_arguments(trained, trained / "exp", out_dir, "--data_dir", data_dir))
        for path in hyp.iterdir():
            assert (out_dir / path.name).read_bytes() == path.read_bytes()


def test_texts_that_may_be_cut_are_counted_and_named(trained, tmp_path, capsys):
    call(decode, *decode_arguments(trained, trained / "exp", tmp_path / "hyp", "maxlenratio=0"))
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warning.startswith("warning: 4 of 4 utterances: the text has as many tokens as it may have")
    assert warning.endswith(": test-00, test-01, test-02, test-03")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_does_not_change_the_results(trained, hyp, tmp_path, batch_size):
    call(decode, *decode_arguments(trained, trained / "exp", tmp_path / "hyp", f"batch_size={batch_size}"))
    assert kaldi.read_dir(tmp_path / "hyp") == kaldi.read_dir(hyp)
    for one, other in zip(posteriors(hyp), posteriors(tmp_path / "hyp"), strict=True):
        assert close(one, other)


def test_the_results_differ_between_utterances(hyp):
    """Without which the tests above would prove little."""
    assert len({line["score"] for line in posteriors(hyp)}) == 4
    assert len({line["emotion"]["sad"] for line in posteriors(hyp)}) == 4


def test_another_weights_file_can_be_chosen(trained, hyp, tmp_path):
    best = json.loads((trained / "exp/checkpoints/best.json").read_text())["best"][0]["step"]
    weights = f"checkpoints/step{best:06d}.safetensors"
    call(decode, *decode_arguments(trained, trained / "exp", tmp_path / "hyp", "--model", weights))
    assert json.loads((tmp_path / "hyp/decode.json").read_text())["model"] == f"step{best:06d}.safetensors"
    assert posteriors(tmp_path / "hyp") != posteriors(hyp)


def test_an_experiment_needs_neither_its_data_nor_its_first_place(trained, hyp, tmp_path):
    moved = shutil.copytree(trained / "exp", tmp_path / "moved", symlinks=True)
    call(decode, *decode_arguments(trained, moved, tmp_path / "hyp"))
    assert (tmp_path / "hyp/posteriors.jsonl").read_bytes() == (hyp / "posteriors.jsonl").read_bytes()
