"""Hostile and damaged data directories: what comes out is the data or a UserError of one printable line.

The fuzzing happens in one directory per module, the current one: a command that ran would leave `marker` in it.
"""

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from entry_point import error_of
from hostile import attempt, cases, tree
from hypothesis import given
from hypothesis import strategies as st
from tiny_experiment import call, change, decode_arguments, train_and_average, train_arguments, write_wav

from whisper_er.audio.reading import audio_info, load_audio
from whisper_er.base.errors import UserError
from whisper_er.bin import decode
from whisper_er.corpora.folds import make_folds
from whisper_er.corpora.format_audio import format_data
from whisper_er.data import kaldi
from whisper_er.data.kaldi import split_dir
from whisper_er.data.utterances import read_utterances
from whisper_er.score.hypotheses import combine_dirs
from whisper_er.task import Task

DATA, OUT = Path("data"), Path("out")
OUTPUTS = ("data", "out")  # all else in the current directory has to stay as it is
TASKS = (
    Task("asr", "text"),
    Task("emotion", "category", ("happy", "$(touch marker)", "'")),
    Task("valence", "scale", ("1", "5")),
)
TABLES = ("wav.scp", "segments", "text", "utt2spk", "utt2emotion", "utt2valence", "utt2num_samples", "utt2fold")
COMMANDS = (
    "touch marker |", "touch marker|", "touch marker | ", "touch marker |\t", "touch marker |\u3000",
    "touch marker |\0", "touch marker |\x1f", "| touch marker", "| touch marker |", "|touch marker",
    "touch\tmarker\t|", "touch marker ||", "touch marker | :0", "touch marker |.ark:0", "touch marker |:3",
    "touch marker; true | cat|", "$(touch marker)", "`touch marker`", "`touch marker` |", "$(touch marker).wav",
    "a.wav;touch marker |", "-c 'touch marker' |", "\"touch marker\" |",
)  # fmt: skip
ALLOWED = (
    "cat a.wav |", "cat stereo.wav |", "head -c 30 a.wav |", "cat <<< '' |", "|", " |", "\0|", "exit 3 |", "'|",
    "kill -9 $$ |", "printf '\\033[2J\\r\\n' >&2; exit 1 |", "cat a.wav #" + "x" * 200_000 + " |",
)  # fmt: skip
FILES = (
    "a.wav", "./a.wav", "stereo.wav", "outside/../a.wav", "missing.wav", "", ".", "/", "-", "--help", "fifo", "a.raw",
    "~", "\0", "a.wav\0", "/dev/zero", "/dev/stdin", "/proc/self/environ", "missing\x1b[2J.wav", "missing\u2028.wav",
    "x" * 300, "x/" * 3000, "a.ark:0", "a.ark:5", "a.ark:-1", "a.ark:" + "9" * 18, "a.ark:" + "9" * 40,
    "a.ark:" + "9" * 5000, "a.ark:٣", "a.ark:",
)  # fmt: skip
WORDS = (
    "a", "b", "a1", "ü", "u\u0308", "\U0001d538", "نمی\u200cخواهم", "..", ".", "../a", "../../outside/a",
    "/etc/passwd", "-", "-rf", "--help", "a/b", "a\\b", "$(touch marker)", "$(touch\u00a0marker)", "`touch\tmarker`",
    "a;touch${IFS}marker", "a|", "|", "'", '"', "a'b", "*", "~", "%s", "{}", "<|a|>", "#", "\0", "a\0", "\x1b[2Ja",
    "a\x7f", "a\x85b", "\ufeff", "\ufeffa", "a\ufeff", "\u2028", "a\u202eb", "a\u200bb", "x" * 300, "x" * 9000,
    ".hidden", "a.wav", "",
)  # fmt: skip


REFUSED = {
    "a label outside the token list": (
        "train", {"valid/utt2emotion": {"valid-01": "bored"}}, [],
        ["{root}/valid", "valid-01", "utt2emotion", "'bored'", "happy sad"]),
    "a number of samples that the audio in training does not have": (
        "training", {"train/utt2num_samples": {"train-03": "4321"}}, [], ["train-03", "4321", "utt2num_samples"]),
    "a number of samples that the audio to decode does not have": (
        "decode", {"test/utt2num_samples": {"test-03": "4321"}}, [], ["test-03"]),
    "a number of samples that is no number": (
        "train", {"train/utt2num_samples": {"train-03": "many"}}, [],
        ["{root}/train/utt2num_samples", "train-03", "many"]),
    "a set that did not go through stage 1": (
        "train", {"valid/utt2num_samples": None}, [], ["{root}/valid/utt2num_samples: no such file; run stage 1"]),
    "an empty validation set": ("train", {"valid/*": ""}, [], ["{root}/valid: the set is empty"]),
    "an empty test set": ("decode", {"test/*": ""}, [], ["{root}/test: the set is empty"]),
    "no table of a task": ("train", {"train/utt2gender": None}, [], ["{root}/train/utt2gender: no such file"]),
    "a text longer than the decoder": (
        "training", {"train/text": {"train-02": " ".join(["three two one"] * 20)}}, [],
        ["train-02", "the decoder 40 positions"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_stage_names_what_is_wrong_with_its_data(refused, name):
    refused(REFUSED[name])


@pytest.fixture(scope="module", autouse=True)
def everything_else(tmp_path_factory):
    """Go into a directory with some audio; yields what has to be there after each case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("fuzz"))
        samples = np.arange(-200, 200, dtype=np.int16)
        soundfile.write("a.wav", samples, 16000)
        soundfile.write("stereo.wav", samples.reshape(-1, 2), 8000)
        Path("a.ark").write_bytes(b"a " + Path("a.wav").read_bytes())
        Path("a.raw").write_bytes(b"headless")
        os.mkfifo("fifo")  # nobody writes: who reads from it waits for ever
        Path("outside").mkdir()
        Path("outside", "precious").write_text("years of work")
        yield tree(Path(), OUTPUTS)


def write(tables: dict[str, bytes]) -> None:
    for directory in (DATA, OUT):
        shutil.rmtree(directory, ignore_errors=True)
    DATA.mkdir()
    for name, content in tables.items():
        (DATA / name).write_bytes(content)


def use(everything_else: dict[str, bytes | None]) -> None:
    """Do with DATA what the recipe does; assert what holds for a directory that is accepted, and for all."""
    data = attempt(kaldi.read_dir, DATA)
    if data is not None:
        use_tables(data)
    accepted = attempt(format_data, DATA, OUT / "dump")
    if accepted:
        dump = kaldi.read_dir(OUT / "dump")
        kaldi.validate(OUT / "dump", dump)
        assert kaldi.utterances(dump) == kaldi.utterances(data)
        for utt_id, entry in dump["wav.scp"].items():
            assert len(load_audio(entry, utt_id)) == int(dump["utt2num_samples"][utt_id])
    attempt(format_data, DATA, OUT / "arks", False, 1, "flac.ark")
    for directory in (DATA, OUT / "dump"):
        attempt(read_utterances, directory, SimpleNamespace(tasks=TASKS), "error")
        attempt(read_utterances, directory, SimpleNamespace(tasks=TASKS), "truncate", False)
    assert tree(Path(), OUTPUTS) == everything_else
    below = {path.name for path in OUT.iterdir()} if OUT.exists() else set()
    assert below <= {"copy", "split", "whole", "dump", "arks"}


def use_tables(data: kaldi.DataDir) -> None:
    valid = attempt(kaldi.validate, DATA, data) is not None
    columns = attempt(kaldi.read_columns, DATA, list(data))
    assert (columns is not None) == (valid and "segments" not in data)
    if columns:
        utt_ids, values = columns
        assert {name: dict(zip(utt_ids, column)) for name, column in values.items()} == data
    written = attempt(kaldi.write_dir, OUT / "copy", data)
    assert written or not valid
    if written:
        assert kaldi.read_dir(OUT / "copy") == data
    utt_ids = attempt(kaldi.utterances, data) or []
    halves = [attempt(kaldi.subset, data, half) for half in (utt_ids[::2], utt_ids[1::2])]
    attempt(kaldi.subset, data, ["no such utterance\n"])
    if None not in halves:
        attempt(kaldi.combine, halves)
    attempt(kaldi.combine, [data, data], [DATA, "x\n" * 3000])
    split = attempt(split_dir, DATA, 2, OUT / "split")
    assert bool(split) == (valid and len(utt_ids) > 1)
    if split:
        combine_dirs([OUT / "split" / "1", OUT / "split" / "2"], OUT / "whole")
        whole = kaldi.read_dir(OUT / "whole")
        needed = {kaldi.segment(data, utt_id)[0] for utt_id in utt_ids} if "segments" in data else utt_ids
        assert whole == data | {"wav.scp": {key: data["wav.scp"][key] for key in needed}}
    attempt(combine_dirs, [DATA, DATA], OUT / "whole")


alphabet = st.one_of(st.sampled_from("ab .-/|$()'\"\\\n\r\t\0\x1b\x85\u2028\u3000\ufeff"), st.characters(codec="utf-8"))
words = st.one_of(st.sampled_from(WORDS), st.text(alphabet, max_size=8))
good_words = st.sampled_from([word for word in WORDS if kaldi.ID.fullmatch(word)])
times = st.sampled_from(
    ["0", "0.0", "0.01", "0.02", "0.025", "1", "-1", "nan", "inf", "1e308", "1_0", "0x1", "", "9" * 400, "1e-320"]
)
segments = st.one_of(
    st.builds("r {} {}".format, times, times),
    st.builds("{} {} {}".format, words, times, times),
    st.just("r 0 0.02"),
    words,
)
values = {
    "wav.scp": st.one_of(*[st.sampled_from(("a.wav", "stereo.wav"))] * 5, st.sampled_from(FILES + COMMANDS), words),
    "segments": segments,
    "utt2emotion": st.one_of(*[st.sampled_from(("happy", "$(touch marker)", "'", ""))] * 7, words),
    "utt2valence": st.one_of(
        *[st.sampled_from(("1", "4.5", ""))] * 7, st.sampled_from(("nan", "inf", "9", "1_1")), words
    ),
    "utt2num_samples": st.one_of(st.sampled_from(("400", "-1", "0", "1e3", "9" * 30, "9" * 5000, "٤٠٠")), words),
}


@st.composite
def near_valid(draw) -> dict[str, bytes]:
    """Tables of one to four utterances; most have the same ids, few a damaged line."""
    word = draw(st.sampled_from((good_words, good_words, good_words, words)))
    utt_ids = draw(st.lists(word, min_size=1, max_size=4, unique=True))
    if draw(st.booleans()):
        names = set(TABLES) - {"segments"}  # what training reads
    else:
        names = draw(st.sets(st.sampled_from(TABLES))) | {"utt2spk"}
    damage = st.integers(0, 9 if draw(st.booleans()) else 0)
    tables = {}
    for name in sorted(names):
        ids = ["r", "ü"] if name == "wav.scp" and "segments" in names else utt_ids
        lines = [f"{utt_id} {draw(values.get(name, words))}" for utt_id in ids]
        match draw(damage):
            case 1:
                lines.pop()
            case 2:
                lines.append(lines[0])
            case 3:
                lines.append(draw(words))
            case 4:
                lines = [line.replace(" ", draw(st.sampled_from("\t\u3000\0\x85")), 1) for line in lines]
        end = draw(st.sampled_from(("\n",) * 7 + ("\r\n", "\r", "\u2028")))
        content = "".join(line + end for line in lines).encode()
        tables[name] = content[: draw(st.sampled_from((None,) * 9 + (-1, -3)))]
    return tables


any_table = st.one_of(st.binary(max_size=60), st.text(alphabet, max_size=40).map(str.encode))


@given(tables=st.dictionaries(st.sampled_from(TABLES), any_table))
@cases(800)
def test_any_bytes_as_tables_end_in_data_or_in_one_line(everything_else, tables):
    write(tables)
    use(everything_else)


@given(tables=near_valid())
@cases(1200)
def test_a_nearly_valid_directory_ends_in_data_or_in_one_line(everything_else, tables):
    write(tables)
    use(everything_else)


@given(utt_id=good_words, entry=st.one_of(st.sampled_from(COMMANDS + FILES), values["wav.scp"]), cut=st.booleans())
@cases(600)
def test_no_spelling_of_a_command_is_run_unless_pipes_are_allowed(everything_else, utt_id, entry, cut):
    for function in (audio_info, load_audio):  # in a table white space at the end vanishes; here it does not
        attempt(function, entry, utt_id)
    tables = {"wav.scp": f"{'r' if cut else utt_id} {entry}\n", "utt2spk": f"{utt_id} s\n"}
    tables |= {"segments": f"{utt_id} r 0 0.01\n"} if cut else {}
    write({name: table.encode() for name, table in tables.items()})
    attempt(format_data, DATA, OUT / "dump")
    attempt(format_data, DATA, OUT / "dump", False, 1, "wav.ark")
    assert tree(Path(), OUTPUTS) == everything_else


@given(utt_id=words, entry=st.sampled_from(ALLOWED))
@cases(40)
def test_an_allowed_command_sees_no_id_and_its_failure_is_one_line(everything_else, utt_id, entry):
    write({"wav.scp": f"{utt_id} {entry}\n".encode(), "utt2spk": f"{utt_id} s\n".encode()})
    attempt(format_data, DATA, OUT / "dump", True)
    assert tree(Path(), OUTPUTS) == everything_else


@given(table=st.dictionaries(words, st.one_of(words, st.text(max_size=8))))
@cases(800)
def test_a_table_reads_back_as_it_was_written_or_is_not_written(everything_else, table):
    write({})
    if attempt(kaldi.write_dir, OUT, {"text": table}):
        assert kaldi.read_dir(OUT) == {"text": table}
    else:
        assert not OUT.exists()
    assert tree(Path(), OUTPUTS) == everything_else


file_names = words.filter(lambda name: name not in ("", ".", "..") and not {"/", "\0"} & {*name} and len(name) < 40)


@given(name=file_names)
@cases(150)
def test_a_directory_of_any_name_is_written_under_that_name_or_not_at_all(everything_else, name):
    write({"wav.scp": b"a stereo.wav\n", "utt2spk": b"a s\n"})
    OUT.mkdir()
    if attempt(format_data, DATA, OUT / name):
        entry = kaldi.read_dir(OUT / name)["wav.scp"]["a"]
        assert entry == str(OUT / name / "wav" / "a.wav")
        assert len(load_audio(entry, "a")) == 400
        assert os.listdir(OUT) == [name]
    else:
        assert os.listdir(OUT) == []
    attempt(kaldi.read_dir, OUT / name)
    assert tree(Path(), OUTPUTS) == everything_else


def test_a_hostile_id_is_one_line_on_the_terminal():
    write({"wav.scp": b"a\x1b[2J a.wav\n", "utt2spk": b"a\x1b[2J s\n"})
    assert "1 bad ids; an id holds no white space, no control character" in error_of("validate_data_dir", DATA)


def test_a_fold_of_its_own_for_every_utterance_takes_no_quadratic_time(tmp_path):
    ids = [f"u{i:05}" for i in range(20_000)]
    kaldi.write_dir(tmp_path / "all", {
        "wav.scp": dict.fromkeys(ids, "a.wav"), "utt2spk": {utt_id: utt_id for utt_id in ids},
        "utt2fold": {utt_id: str(number + 1) for number, utt_id in enumerate(ids)},
    })  # fmt: skip
    start = time.process_time()
    with pytest.raises(UserError, match="--folds 'x': allowed are 1 2"):
        make_folds(tmp_path / "all", tmp_path, ["x"])
    assert time.process_time() - start < 5


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


def test_audio_that_is_gone_from_the_validation_set_is_named(refused):
    refused(("training", {"valid/wav.scp": {"valid-01": "gone.wav"}}, [], ["valid-01", "gone.wav"]))


@pytest.fixture
def long_audio(root):
    """31 s in the training and in the test set."""
    write_wav(root / "long.wav", 31 * 16000, np.random.default_rng(0))
    for name, utt_id in (("train", "train_04"), ("test", "test_02")):
        change(root / name, "wav.scp", **{utt_id: str(root / "long.wav")})
        change(root / name, "utt2num_samples", **{utt_id: str(31 * 16000)})
    return root


def test_audio_over_30_s_is_an_error_that_names_it_and_the_way_out(long_audio, refused):
    refused(("train", {}, [], ["train-04 (31.0 s)", "model.long_audio=truncate"]))
    refused(("decode", {}, [], ["test-02 (31.0 s)"]))


def test_audio_over_30_s_is_cut_and_named_where_that_is_asked_for(long_audio, capfd):
    root, cut = long_audio, ["model.long_audio=truncate", "max_steps=1", "batch_size=11"]
    train_and_average(root, root / "new", *cut)
    call(decode, *decode_arguments(root, root / "new", root / "hyp"))
    log = capfd.readouterr().out
    assert f"{root}/train: 1 utterances cut to 30 s: train-04 (31.0 s)" in log
    assert f"{root}/test: 1 utterances cut to 30 s: test-02 (31.0 s)" in log
    assert "test-02" in kaldi.read_table(root / "hyp/utt2emotion")
