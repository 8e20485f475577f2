"""whisper_er.data.kaldi and the entry points that only handle tables."""

import subprocess
import time
from pathlib import Path

import pytest
from entry_point import error_of, run_entry_point

from whisper_er.base.errors import UserError
from whisper_er.data import kaldi


def tables(*utt_ids: str) -> kaldi.DataDir:
    return {
        "wav.scp": {utt_id: f"wav/{utt_id} of the corpus.wav" for utt_id in utt_ids},
        "text": {utt_id: "" if utt_id == "b" else f"words of {utt_id}" for utt_id in utt_ids},
        "utt2spk": {utt_id: f"speaker-{utt_id}" for utt_id in utt_ids},
        "utt2emotion": dict.fromkeys(utt_ids, "happy"),
    }


def with_segments() -> kaldi.DataDir:
    return {
        "wav.scp": {"r1": "r1.wav", "r2": "r2.wav"},
        "segments": {"a": "r1 0 1.5", "b": "r1 1.5 2", "c": "r2 0 1"},
        "utt2spk": {"a": "s", "b": "s", "c": "s"},
    }


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_a_directory_reads_back_as_it_was_written(tmp_path):
    data = tables("a", "b")
    kaldi.write_dir(tmp_path / "all", data)
    assert kaldi.read_dir(tmp_path / "all") == data
    assert lines(tmp_path / "all" / "text") == ["a words of a", "b"]


def test_tables_are_written_in_c_order(tmp_path):
    ids = ["é", "a", "Z", "a_1", "a-1", "a1", "ｚ", "\U0001d538", "10", "9"]
    kaldi.write_table(tmp_path / "text", dict.fromkeys(ids, "x"))
    (tmp_path / "ids").write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")
    by_sort = subprocess.run(["sort", tmp_path / "ids"], env={"LC_ALL": "C"}, capture_output=True, check=True)
    assert [line.split()[0] for line in lines(tmp_path / "text")] == by_sort.stdout.decode().splitlines()


def test_a_table_with_a_byte_order_mark_tabs_and_crlf_is_read_as_one_without(tmp_path):
    (tmp_path / "text").write_bytes("\ufeffa\tone  two\tthree \r\nb\r\n".encode())
    assert kaldi.read_table(tmp_path / "text") == {"a": "one  two\tthree", "b": ""}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"a x\nb y\na z\n", "duplicate id 'a' in line 3"),
        (b"a caf\xe9\n", "not UTF-8 at byte 5"),
        (b"a x\n\nb y\n", "line 2 has no id"),
        (b"a x\n lost.wav\n", "line 2 has no id"),
    ],
)
def test_a_malformed_table_is_an_error_that_names_file_and_place(tmp_path, content, named):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(UserError, match=named) as error:
        kaldi.read_table(tmp_path / "text")
    assert str(tmp_path / "text") in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("a b", "x"), ("a/b", "x"), ("-a", "x"), (".a", "x"), ("a\0", "x"), ("\x1b[2Ja", "x"), ("\ufeffa", "x"),
     ("a", "x\ny"), ("a", "x "), ("a", "\u3000x"), ("a", "\udcff")],
)  # fmt: skip
def test_what_would_not_read_back_is_not_written(tmp_path, key, value):
    with pytest.raises(UserError):
        kaldi.write_dir(tmp_path / "all", {"text": {key: value}})
    assert list(tmp_path.iterdir()) == []


def test_spk2utt_and_an_editors_leavings_are_not_read(tmp_path):
    kaldi.write_dir(tmp_path / "all", tables("a"))
    for name in ("spk2utt", "text~", "utt2spk.bak", ".utt2spk.swp"):
        (tmp_path / "all" / name).write_text("not a table\nnot a table\n")
    assert kaldi.read_dir(tmp_path / "all") == tables("a")


def test_writing_replaces_a_directory_whole(tmp_path):
    kaldi.write_dir(tmp_path / "all", tables("a", "b"))
    kaldi.write_dir(tmp_path / "all", {"utt2spk": {"c": "s"}})
    assert [file.name for file in (tmp_path / "all").iterdir()] == ["utt2spk"]
    assert [file.name for file in tmp_path.iterdir()] == ["all"]


def test_writing_that_fails_leaves_the_old_directory_and_nothing_else(tmp_path):
    kaldi.write_dir(tmp_path / "all", tables("a"))
    with pytest.raises(KeyboardInterrupt), kaldi.replace_data_dir(tmp_path / "all") as new:
        (new / "text").write_text("half")
        raise KeyboardInterrupt
    assert kaldi.read_dir(tmp_path / "all") == tables("a")
    assert [file.name for file in tmp_path.iterdir()] == ["all"]


def test_what_a_killed_run_left_does_not_reach_the_next_one(tmp_path):
    (tmp_path / ".all.new").mkdir()
    (tmp_path / ".all.new" / "utt2gender").write_text("half")
    kaldi.write_dir(tmp_path / "all", tables("a"))
    assert kaldi.read_dir(tmp_path / "all") == tables("a")
    assert [file.name for file in tmp_path.iterdir()] == ["all"]


def test_a_directory_that_is_no_data_directory_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1").write_text("years of work")
    with pytest.raises(UserError, match="thesis: exists and is something else"):
        kaldi.write_dir(tmp_path / "thesis", tables("a"))
    assert lines(tmp_path / "thesis" / "chapter1") == ["years of work"]


def test_a_link_to_a_data_directory_stays_a_link(tmp_path):
    kaldi.write_dir(tmp_path / "disk" / "all", tables("a"))
    (tmp_path / "all").symlink_to(tmp_path / "disk" / "all")
    kaldi.write_dir(tmp_path / "all", tables("b"))
    assert (tmp_path / "all").is_symlink()
    assert kaldi.read_dir(tmp_path / "disk" / "all") == tables("b")


def test_a_sound_directory_is_valid(tmp_path):
    kaldi.write_dir(tmp_path / "all", tables("a", "b"))
    result = run_entry_point("validate_data_dir", tmp_path / "all", "--tasks", "asr emotion")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'all'}: 2 utterances, 2 speakers: ok\n"


def test_who_speaks_is_read_from_utt2spk_unless_the_task_has_a_table_of_its_own(tmp_path):
    data = tables("a", "b")
    kaldi.write_dir(tmp_path / "all", data)
    kaldi.validate(tmp_path / "all", kaldi.read_dir(tmp_path / "all"), ["speaker"])
    _, columns = kaldi.read_columns(tmp_path / "all", ["utt2speaker", "utt2spk"], ["speaker"])
    assert list(columns["utt2speaker"]) == list(columns["utt2spk"]) == list(data["utt2spk"].values())
    kaldi.write_dir(tmp_path / "all", data | {"utt2speaker": {"a": "x", "b": ""}})
    _, columns = kaldi.read_columns(tmp_path / "all", ["utt2speaker", "utt2spk"], ["speaker"])
    assert list(columns["utt2speaker"]) == ["x", ""] and list(columns["utt2spk"]) == list(data["utt2spk"].values())


def drop(name: str, *keys: str):
    def change(data: kaldi.DataDir) -> None:
        for key in keys:
            del data[name][key]

    return change


UNSOUND = pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda data: data.pop("utt2spk"), "utt2spk: no such file"),
        (lambda data: data.pop("text"), "text: no such file"),
        (lambda data: data.pop("utt2emotion"), "utt2emotion: no such file"),
        (lambda data: [table.clear() for table in data.values()], "all: the set is empty"),
        (drop("utt2emotion", "b"), "utt2emotion: 1 ids of"),
        (drop("text", *"bcdefgh"), "'b', 'c', 'd', 'e', 'f' and 2 more"),
        (drop("wav.scp", "b"), "1 ids are not in"),
        (lambda data: data["utt2spk"].update(a=""), "utt2spk: 1 ids without a value"),
        (lambda data: data["wav.scp"].update(a=""), "wav.scp: 1 ids without a value"),
    ],
)


@UNSOUND
def test_an_unsound_directory_is_one_line_that_names_the_file(tmp_path, change, named):
    data = tables(*"abcdefgh")
    change(data)
    kaldi.write_dir(tmp_path / "all", data)
    assert named in error_of("validate_data_dir", tmp_path / "all", "--tasks", "asr emotion")


@UNSOUND
def test_reading_by_columns_finds_the_same(tmp_path, change, named):
    data = tables(*"abcdefgh")
    change(data)
    kaldi.write_dir(tmp_path / "all", data)
    with pytest.raises(UserError, match=named):
        kaldi.read_columns(tmp_path / "all", [], ["asr", "emotion"])


def test_spellings_are_those_of_speakers_and_of_labels_that_are_asked_for(tmp_path):
    """Not of numbers, nor of tables that nothing reads."""
    data = tables("a", "b") | {
        "utt2spk": {"a": "Ab3", "b": "aB3"}, "utt2comment": {"a": "Ok", "b": "ok"},
        "utt2valence": {"a": "1e-3", "b": "1E-3"}, "utt2emotion": {"a": "Sad", "b": "sad"},
    }  # fmt: skip
    kaldi.write_dir(tmp_path, data)
    for read in (
        lambda tasks: kaldi.validate(tmp_path, data, tasks),
        lambda tasks: kaldi.read_columns(tmp_path, [], tasks),
    ):
        read(["valence", "speaker"])
        with pytest.raises(UserError, match="utt2emotion: 'Sad' and 'sad' differ in nothing but case"):
            read(["valence", "emotion"])


def test_columns_are_in_the_order_of_the_ids_whatever_that_of_the_lines(tmp_path):
    data = tables("a", "b", "ü")
    kaldi.write_dir(tmp_path / "all", data)
    (tmp_path / "all" / "text").write_text("ü three\nb\na one\n", encoding="utf-8")
    utt_ids, columns = kaldi.read_columns(tmp_path / "all", ["text", "wav.scp", "utt2valence"], ["asr"])
    assert list(utt_ids) == ["a", "b", "ü"]
    assert {name: list(column) for name, column in columns.items()} == {
        "text": ["one", "", "three"],
        "wav.scp": [data["wav.scp"][utt_id] for utt_id in utt_ids],
    }


def test_columns_are_of_whole_files(tmp_path):
    kaldi.write_dir(tmp_path / "all", with_segments())
    with pytest.raises(UserError, match="run stage 1"):
        kaldi.read_columns(tmp_path / "all", [])


@pytest.mark.parametrize("bad", ["a/b", "-a", ".a"])
def test_a_bad_id_is_named(tmp_path, bad):
    (tmp_path / "wav.scp").write_text(f"{bad} a.wav\n")
    (tmp_path / "utt2spk").write_text(f"{bad} s\n")
    rule = "an id holds no white space, no control character and no '/', and does not start with '.' or '-'"
    assert f"bad ids; {rule}: '{bad}'" in error_of("validate_data_dir", tmp_path)


def test_a_duplicate_id_and_a_missing_directory_are_one_line_at_the_command_line_too(tmp_path):
    kaldi.write_dir(tmp_path / "all", tables("a"))
    (tmp_path / "all" / "utt2spk").write_text("a s\na s\n")
    assert f"{tmp_path}/all/utt2spk: duplicate id 'a'" in error_of("validate_data_dir", tmp_path / "all")
    assert f"{tmp_path}/none: no such data directory" in error_of("validate_data_dir", tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("r1 0", "segments: 1 lines are not"),
        ("r1 1 1", "segments: 1 lines are not"),
        ("r1 -1 1", "segments: 1 lines are not"),
        ("r1 0 nan", "segments: 1 lines are not"),
        ("r9 0 1", "segments: 1 utterances name a recording that is not in wav.scp: 'a'"),
    ],
)
def test_a_bad_segment_is_named(tmp_path, line, named):
    data = with_segments()
    kaldi.validate(tmp_path, data)
    data["segments"]["a"] = line
    with pytest.raises(UserError, match=named):
        kaldi.validate(tmp_path, data)


def test_a_subset_carries_every_table_and_the_recordings_that_it_needs():
    assert kaldi.subset(tables("a", "b", "c"), ["c", "a"]) == tables("a", "c")
    assert kaldi.subset(with_segments(), ["c"]) == {
        "wav.scp": {"r2": "r2.wav"},
        "segments": {"c": "r2 0 1"},
        "utt2spk": {"c": "s"},
    }
    with pytest.raises(UserError, match="'z'"):
        kaldi.subset(tables("a"), ["z"])


def test_parts_combine_to_the_whole():
    assert kaldi.combine([tables("a"), tables("b", "c")]) == tables("a", "b", "c")
    whole = with_segments()
    assert kaldi.combine([kaldi.subset(whole, [utt_id]) for utt_id in "abc"]) == whole


def test_parts_that_do_not_fit_are_an_error():
    with pytest.raises(UserError, match="part 2: .*duplicate id 'b'"):
        kaldi.combine([tables("a", "b"), tables("b")])
    odd = tables("b")
    del odd["utt2emotion"]
    with pytest.raises(UserError, match="part 2: .* only one of them has utt2emotion"):
        kaldi.combine([tables("a"), odd])
    other = kaldi.subset(with_segments(), ["b"])
    other["wav.scp"]["r1"] = "another.wav"
    with pytest.raises(UserError, match="duplicate id 'r1'"):
        kaldi.combine([kaldi.subset(with_segments(), ["a"]), other])


def test_shared_speakers_are_those_of_both():
    assert kaldi.shared_speakers(tables("a", "b"), tables("b", "c")) == {"speaker-b"}


def test_ten_thousand_utterances_are_read_and_validated_in_half_a_second(tmp_path):
    kaldi.write_dir(tmp_path / "all", tables(*(f"utt{i:05}" for i in range(10_000))))
    start = time.process_time()
    kaldi.validate(tmp_path / "all", kaldi.read_dir(tmp_path / "all"), ["asr", "emotion"])
    assert time.process_time() - start < 0.5
