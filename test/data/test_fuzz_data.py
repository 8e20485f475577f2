"""Hostile and damaged data directories: what comes out is the data or a UserError of one printable line.

Everything happens in one directory per module, the current one: a command that ran would leave `marker` in it.
"""

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from entry_point import error_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whisper_er.base.errors import LONGEST, UserError
from whisper_er.data import kaldi
from whisper_er.data.audio import audio_info, load_audio
from whisper_er.data.dataset import read_utterances
from whisper_er.data.format_audio import format_data
from whisper_er.data.kaldi import split_dir
from whisper_er.score.hypotheses import combine_dirs
from whisper_er.task import Task

DATA, OUT = Path("data"), Path("out")  # all else in the current directory has to stay as it is
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


def cases(number: int) -> settings:
    """The same cases in every run; those that failed are not kept on disk."""
    return settings(max_examples=number, derandomize=True, deadline=None, database=None)


def tree(skip: tuple[Path, ...] = (DATA, OUT)) -> dict[str, bytes | None]:
    """Content by path of all files that are no output; None for what is no regular file."""
    found = {}
    for entry in os.scandir("."):
        if Path(entry.name) not in skip:
            paths = [Path(entry.name), *Path(entry.name).rglob("*")] if entry.is_dir() else [Path(entry.name)]
            found |= {str(path): path.read_bytes() if path.is_file() else None for path in paths}
    return found


@pytest.fixture(scope="module", autouse=True)
def everything_else(tmp_path_factory) -> Iterator[dict[str, bytes | None]]:
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
        yield tree()


def message_of(function: Callable, *arguments: object) -> str:
    """The message of the UserError that has to come, after it was found to be one printable line."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    return checked(error.value)


def checked(error: UserError) -> str:
    message = str(error)
    assert message.strip() and message.isprintable() and len(message) <= 2000, message
    return message


def attempt(function: Callable, *arguments: object) -> object:
    """What the function returns (True for None); None where it raises UserError."""
    try:
        result = function(*arguments)
    except UserError as error:
        checked(error)
        return None
    return True if result is None else result


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
    assert tree() == everything_else
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
    utt_ids = draw(
        st.lists(
            draw(st.sampled_from((good_words, good_words, good_words, words))), min_size=1, max_size=4, unique=True
        )
    )
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


@given(
    tables=st.dictionaries(
        st.sampled_from(TABLES), st.one_of(st.binary(max_size=60), st.text(alphabet, max_size=40).map(str.encode))
    )
)
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
    scp = {"wav.scp": f"{'r' if cut else utt_id} {entry}\n", "utt2spk": f"{utt_id} s\n"}
    write(
        {name: table.encode() for name, table in (scp | ({"segments": f"{utt_id} r 0 0.01\n"} if cut else {})).items()}
    )
    attempt(format_data, DATA, OUT / "dump")
    attempt(format_data, DATA, OUT / "dump", False, 1, "wav.ark")
    assert tree() == everything_else


@given(utt_id=words, entry=st.sampled_from(ALLOWED))
@cases(40)
def test_an_allowed_command_sees_no_id_and_its_failure_is_one_line(everything_else, utt_id, entry):
    write({"wav.scp": f"{utt_id} {entry}\n".encode(), "utt2spk": f"{utt_id} s\n".encode()})
    attempt(format_data, DATA, OUT / "dump", True)
    assert tree() == everything_else


@given(table=st.dictionaries(words, st.one_of(words, st.text(max_size=8))))
@cases(800)
def test_a_table_reads_back_as_it_was_written_or_is_not_written(everything_else, table):
    write({})
    if attempt(kaldi.write_dir, OUT, {"text": table}):
        assert kaldi.read_dir(OUT) == {"text": table}
    else:
        assert not OUT.exists()
    assert tree() == everything_else


@given(
    name=words.filter(
        lambda name: name not in ("", ".", "..") and "/" not in name and "\0" not in name and len(name) < 40
    )
)
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
    assert tree() == everything_else


@given(message=st.text(min_size=1, max_size=80), times=st.sampled_from((1, 1, 100)))
@example(message="\udcff", times=1)
@example(message="x", times=10**6)
@cases(500)
def test_a_message_is_one_printable_line_of_bounded_length(message, times):
    error = UserError(message * times)
    assert str(error).isprintable() and len(str(error)) <= LONGEST == 2000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # it comes back from a worker process
    if message.isprintable() and times == 1:
        assert str(error) == message


def test_a_hostile_id_is_one_line_on_the_terminal():
    write({"wav.scp": b"a\x1b[2J a.wav\n", "utt2spk": b"a\x1b[2J s\n"})
    assert "1 bad ids; an id holds no white space, no control character" in error_of("validate_data_dir", DATA)
