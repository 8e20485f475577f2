"""csv_to_data: what a spreadsheet writes becomes a data directory; what is wrong with it is one line that names it."""

import io
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from entry_point import error_of, run_entry_point
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_er.base.errors import UserError
from whisper_er.bin import csv_to_data
from whisper_er.corpora.csv_corpus import read_rows
from whisper_er.corpora.folds import assign_folds, make_folds
from whisper_er.data.kaldi import ID, make_id, read_dir, validate

HEADER = "file,speaker,emotion,valence,transcript\n"
ROWS = ["a 1.wav,Anna B,happy,4.5,good day\n", "b1.wav,Ben,sad,,\n", "c1.wav,Cleo,,1,really\n"]
TABLES = ("wav.scp=file", "utt2spk=speaker", "text=transcript", "utt2emotion=emotion", "utt2valence=valence")


class Corpus:
    def __init__(self, root: Path, content: str | bytes | None = None) -> None:
        self.csv, self.audio_dir, self.out_dir = root / "labels.csv", root / "wav", root / "data/all"
        self.audio_dir.mkdir()
        for name in ("a 1.wav", "b1.wav", "c1.wav"):
            (self.audio_dir / name).touch()
        self.write(HEADER + "".join(ROWS) if content is None else content)

    def write(self, content: str | bytes) -> None:
        self.csv.write_bytes(content if isinstance(content, bytes) else content.encode())

    def arguments(self, *options: str, tables: tuple[str, ...] = TABLES) -> list[str]:
        where = ("--csv", self.csv, "--audio_dir", self.audio_dir, "--out_dir", self.out_dir)
        return [*map(str, where), *options, *tables]

    def run(self, *options: str, tables: tuple[str, ...] = TABLES) -> str:
        """What it says, called in this process."""
        argv = ["csv_to_data", *self.arguments(*options, tables=tables)]
        with mock.patch("sys.argv", argv), redirect_stdout(io.StringIO()) as said:
            csv_to_data.main()
        return said.getvalue()

    def read(self, *options: str, tables: tuple[str, ...] = TABLES) -> tuple[dict, str]:
        said = self.run(*options, tables=tables)
        return read_dir(self.out_dir), said

    def error(self, *options: str, tables: tuple[str, ...] = TABLES) -> str:
        with pytest.raises(UserError) as error:
            self.run(*options, tables=tables)
        assert not self.out_dir.exists()
        return str(error.value)


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return Corpus(tmp_path)


def test_a_row_becomes_an_utterance_and_an_empty_cell_a_missing_label(corpus):
    data, said = corpus.read("--num_folds", "3")
    validate(corpus.out_dir, data, ["asr", "emotion", "valence"])
    assert data == {
        "wav.scp": {"a_1": str(corpus.audio_dir / "a 1.wav"), "b1": str(corpus.audio_dir / "b1.wav"),
                    "c1": str(corpus.audio_dir / "c1.wav")},
        "utt2spk": {"a_1": "Anna B", "b1": "Ben", "c1": "Cleo"},
        "text": {"a_1": "good day", "b1": "", "c1": "really"},
        "utt2emotion": {"a_1": "happy", "b1": "sad", "c1": ""},
        "utt2valence": {"a_1": "4.5", "b1": "", "c1": "1"},
        "utt2fold": {"a_1": "1", "b1": "2", "c1": "3"},
    }  # fmt: skip
    assert "3 utterances" in said and "utt2emotion: happy 1, sad 1; 1 empty" in said and "text: 2; 1 empty" in said
    make_folds(corpus.out_dir, corpus.out_dir.parent, ["1", "2", "3"])


def test_the_command_writes_or_says_in_one_line_why_not(corpus):
    assert "no such file" in error_of("csv_to_data", *corpus.arguments("--csv", "none.csv"))
    done = run_entry_point("csv_to_data", *corpus.arguments())
    assert done.returncode == 0 and "3 utterances" in done.stdout and (corpus.out_dir / "utt2valence").is_file()


QUOTED = 'file,speaker,emotion,valence,transcript\n"a 1.wav",Anna,happy,1,"no, she said ""stop""\nand  left"\n'


@pytest.mark.parametrize("content, options", [
    (QUOTED.encode(), ()),
    (b"\xef\xbb\xbf" + QUOTED.replace("\n", "\r\n").encode(), ()),  # Excel, "CSV UTF-8"
    (QUOTED.encode("utf-16"), ("--encoding", "utf-16")),
    (QUOTED.replace(",", ";").replace("no;", "no,").encode(), ()),  # Excel, where a comma is in numbers
    (QUOTED.replace(",", "\t").replace("no\t", "no,").encode(), ()),
    (QUOTED.replace("\n", "\r").encode(), ()),
    ((QUOTED + ",,,,\n\n").encode(), ()),  # rows that were emptied
    (QUOTED.replace("file,", " file ,").replace(",happy,", ", happy ,").encode(), ()),
])  # fmt: skip
def test_every_way_in_which_a_spreadsheet_saves_a_table_reads_the_same(corpus, content, options):
    corpus.write(content)
    data, _ = corpus.read(*options)
    assert data["text"] == {"a_1": 'no, she said "stop" and left'}
    assert (data["utt2spk"], data["utt2emotion"]) == ({"a_1": "Anna"}, {"a_1": "happy"})


def test_letters_of_another_encoding_are_read_when_it_is_named(corpus):
    corpus.write(HEADER.encode() + "b1.wav,Jörg,fröhlich,1,für dich\n".encode("cp1252"))
    assert "labels.csv: not utf-8" in corpus.error() and "--encoding cp1252" in corpus.error()
    data, _ = corpus.read("--encoding", "cp1252")
    assert (data["utt2emotion"]["b1"], data["text"]["b1"]) == ("fröhlich", "für dich")


@pytest.mark.parametrize("name, found, utt_id", [
    ("b1", "b1.wav", "b1"),
    ("Anna/take 1.wav", "Anna/take 1.wav", "Anna_take_1"),
    ("Anna\\take 1.wav", "Anna/take 1.wav", "Anna_take_1"),
    ("-x.flac", "-x.flac", "_x"),
    ("Gu\u0308l.wav", "G\u00fcl.wav", "G\u00fcl"),
    ("G\u00fcl.2", "Gu\u0308l.2.wav", "Gu\u0308l.2"),
])  # fmt: skip
def test_a_file_is_found_as_people_write_it_and_its_name_becomes_a_valid_id(corpus, name, found, utt_id):
    path = corpus.audio_dir / found
    path.parent.mkdir(exist_ok=True)
    path.touch()
    corpus.write(f"{HEADER}{name},Anna,sad,1,good\n")
    data, _ = corpus.read()
    assert data["wav.scp"] == {utt_id: str(path)} and ID.fullmatch(utt_id)


@pytest.mark.parametrize("content, words", [
    (b"", ["no column file | speaker", "the columns are none"]),
    (HEADER, ["no rows below the header"]),
    (HEADER.replace("emotion", "feeling") + ROWS[0], ["no column emotion;", "file | speaker | feeling | valence"]),
    (HEADER.replace("valence", "emotion") + ROWS[0], ["no column valence"]),
    (HEADER.replace("speaker,", "speaker,speaker,"), ["two columns are called speaker"]),
    (HEADER + ROWS[0] + "b1.wav,Ben,sad,1,no, no\n", ["line 3 has 6 cells, the header has 5"]),
    (HEADER + ROWS[0] + "b1.wav,Ben\n", ["line 3 has 2 cells"]),
    (HEADER + ROWS[0] + 'b1.wav,Ben,sad,1,"oh\n' + ROWS[2], ["line 3: unexpected end of data", "quotes"]),
    (HEADER + 'b1.wav,Ben,sad,1,"oh" no\n', ["line 2:", "quotes"]),
    (HEADER + ROWS[0] + "b9.wav,Ben,sad,1,\nb8.wav,Ben,sad,1,\n",
     ["column file: line 3 'b9.wav', line 4 'b8.wav': no such audio file in"]),
    (HEADER + ",Ben,sad,1,\n", ["column file: line 2 ''"]),
    (HEADER + ROWS[1] + ROWS[0] + ROWS[1], ["lines 2 and 4 both give the utterance id b1"]),
    (HEADER + ROWS[1] + "b1,Ben,sad,1,\n", ["lines 2 and 3 both give the utterance id b1"]),
    (HEADER + "b1.wav,,sad,1,\n", ["column speaker: line 2 ''", "no speaker"]),
    (HEADER + ROWS[0] + "b1.wav,Ben,<|sad|>,1,\n", ["line 3: column emotion", "<|sad|>"]),
    (HEADER + ROWS[0] + "b1.wav,Ben,Happy,1,\n", ["column emotion: 'Happy' and 'happy' differ"]),
    (HEADER + ROWS[1] + "c1.wav,ben,sad,1,\n", ["column speaker: 'Ben' and 'ben' differ in nothing but case"]),
    (HEADER + "b1.wav,Ben,nan,1,\n", ["line 2: column emotion: the label 'nan'", "a cell of a CSV is empty"]),
    (HEADER + "b1.wav,None,sad,1,\n", ["column speaker: line 2 'None'", "no speaker"]),
    (HEADER + f"{'very ' * 100},Ben,sad,1,\n", ["column file: line 2 'very very", "no such audio file"]),
    (HEADER.encode() + b"b1.wav,Ben,\x1b[31m,1,\n", ["line 2: column emotion", "control character"]),
    (HEADER.encode() + b"b1.wav,B\xff,sad,1,\n", ["not utf-8", "--encoding cp1252"]),
])  # fmt: skip
def test_what_is_wrong_with_a_table_is_one_line_with_file_and_line(corpus, content, words):
    corpus.write(content)
    message = corpus.error()
    assert "labels.csv: " in message
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("options, tables, words", [
    (("--encoding", "hex"), TABLES, "--encoding 'hex' is not known"),
    (("--encoding", "klingon"), TABLES, "--encoding 'klingon' is not known"),
    (("--csv", "none.csv"), TABLES, "none.csv: no such file"),
    (("--audio_dir", "none"), TABLES, "none: no such directory; --audio_dir"),
    (("--num_folds", "1"), TABLES, "--num_folds 1: at least 3"),
    (("--num_folds", "4"), TABLES, "only 3 speakers, and each is in one fold"),
    (("--num_folds", "4", "--fold_by", "utterance"), TABLES, "only 3 utterances, and each is in one fold; ask for"),
    (("--num_folds", "3"), (*TABLES, "utt2fold=valence"), "utt2fold=valence and --num_folds are both given"),
    (("--only", "speaker=Anna"), TABLES, "no row of"),
    (("--only", "sex=Anna"), TABLES, "no column sex"),
    ((), ("utt2spk=speaker",), "wav.scp=COLUMN is missing: the column with the audio files"),
    ((), ("wav.scp=file",), "utt2spk=COLUMN is missing: the column with the speakers"),
    ((), (*TABLES, "emotion=emotion"), "'emotion' is no table; allowed: wav.scp text utt2spk utt2fold utt2<task>"),
    ((), (*TABLES, "utt2my task=emotion"), "'utt2my task' is no table"),
    ((), (*TABLES, "utt2gender"), "'utt2gender': expected TABLE=COLUMN"),
    ((), (*TABLES, "utt2emotion=valence"), "'utt2emotion=valence': expected TABLE=COLUMN, each table once"),
])  # fmt: skip
def test_what_is_wrong_with_a_call_is_one_line(corpus, options, tables, words):
    assert words in corpus.error(*options, tables=tables)


def test_what_is_left_out_is_counted_and_named(corpus):
    corpus.write(HEADER + ROWS[0] + ROWS[1])
    _, said = corpus.read()
    assert f"left out, not in the CSV: 1 audio file(s): {corpus.audio_dir / 'c1.wav'}" in said


def test_rows_of_one_set_are_written_alone_and_the_others_counted(corpus):
    corpus.write("file,who,split\nb1.wav,Ben,train\nc1.wav,Cleo,test\n")
    data, said = corpus.read("--only", "split=test", tables=("wav.scp=file", "utt2spk=who"))
    assert data["utt2spk"] == {"c1": "Cleo"} and "left out, not split=test: 1 row(s)" in said


def test_white_space_in_a_label_becomes_an_underscore_and_in_a_speaker_stays(corpus):
    corpus.write(HEADER + "b1.wav,Ben  van B,very happy,1,\n")
    data, _ = corpus.read()
    assert (data["utt2emotion"]["b1"], data["utt2spk"]["b1"]) == ("very_happy", "Ben van B")


def test_a_quoted_delimiter_in_the_header_does_not_decide(tmp_path):
    path = tmp_path / "a.csv"
    for header in ('"file, wav; mono";speaker', 'speaker;"file, wav; mono"'):
        path.write_text(f"{header}\nx;x\n")
        (row,) = read_rows(path, ["speaker"])
        assert (row.line, row.cells) == (2, {"file, wav; mono": "x", "speaker": "x"})


def test_make_id_gives_valid_ids():
    for name in ("a b", ".hidden", "-rf", "a/b", "\ufeffx", "tab\tnul\0", "a\u2028b"):
        assert ID.fullmatch(make_id(name)), name
    assert make_id("Anna_01.take-2") == "Anna_01.take-2"


def tables_of(speakers: dict[str, tuple[str, int]]) -> dict:
    """speakers: name -> gender, number of utterances, every third of which is happy."""
    ids = [(f"{name}{n:02d}", name, gender, n) for name, (gender, count) in speakers.items() for n in range(count)]
    return {
        "wav.scp": {utt_id: "x" for utt_id, *_ in ids},
        "utt2spk": {utt_id: name for utt_id, name, *_ in ids},
        "utt2gender": {utt_id: gender for utt_id, _, gender, _ in ids},
        "utt2emotion": {utt_id: "sad" if n % 3 else "happy" for utt_id, _, _, n in ids},
    }


def test_folds_by_speaker_are_balanced_in_size_and_labels_and_share_nobody():
    data = tables_of({f"w{n}": ("female", 20) for n in range(5)} | {f"m{n}": ("male", 20) for n in range(5)})
    utt2fold = assign_folds(data, 5)
    people = {(utt2fold[utt_id], data["utt2gender"][utt_id], name) for utt_id, name in data["utt2spk"].items()}
    assert sorted(person[:2] for person in people) == [(f, gender) for f in "12345" for gender in ("female", "male")]


def test_a_speaker_with_much_goes_alone_before_sizes_differ():
    data = tables_of({"a": ("female", 40), "b": ("female", 20), "c": ("male", 20), "d": ("male", 40)})
    sizes = Counter(assign_folds(data, 3).values())
    assert sorted(sizes.values()) == [40, 40, 40]


def test_folds_by_utterance_hold_every_speaker_and_every_emotion_alike():
    data = tables_of({"a": ("female", 30), "b": ("male", 30), "c": ("male", 15)})
    utt2fold = assign_folds(data, 5, "utterance")
    count = Counter((data["utt2spk"][utt_id], fold) for utt_id, fold in utt2fold.items())
    assert count == {(name, str(fold)): size for name, size in (("a", 6), ("b", 6), ("c", 3)) for fold in range(1, 6)}
    happy = Counter(fold for utt_id, fold in utt2fold.items() if data["utt2emotion"][utt_id] == "happy")
    assert max(happy.values()) - min(happy.values()) <= 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80) | st.text('ab,;"\t\r\n\0\u2028', max_size=40).map(str.encode))
def test_whatever_a_file_holds_is_rows_or_one_clear_error(content):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.csv"
        path.write_bytes(b"a,b\n" + content)
        try:
            rows = read_rows(path, ["a"])
        except UserError as error:
            assert str(error).startswith(str(path)) and str(error).isprintable()
        else:
            assert rows and all(set(row.cells) >= {"a"} and row.line >= 2 for row in rows)


def test_an_unknown_way_of_saving_is_not_guessed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("file,speaker\nx,y\n".encode("utf-16"))
    with pytest.raises(UserError, match="not utf-8"):
        read_rows(path, ["file"])
