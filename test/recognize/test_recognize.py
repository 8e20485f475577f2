"""`whisper-er recognize`, as a user runs it."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_experiment import call

from whisper_er import Recognizer
from whisper_er.base.errors import UserError
from whisper_er.bin import recognize
from whisper_er.data import kaldi
from whisper_er.recognize import formats
from whisper_er.recognize.audio_files import find_audio_files
from whisper_er.recognize.recordings import open_recording
from whisper_er.recognize.result import Recognition, Segment, clock


@pytest.fixture(scope="module")
def recordings(trained, tmp_path_factory):
    """Two utterances, one of them in a folder, and a recording of 45 s with three of them."""
    directory = tmp_path_factory.mktemp("recordings")
    (directory / "more").mkdir()
    paths = list(kaldi.read_table(trained / "test" / "wav.scp").values())
    shutil.copy(paths[0], directory / "a.wav")
    shutil.copy(paths[1], directory / "more" / "b c.wav")
    long = np.zeros(45 * 16000, np.float32)
    for place, path in enumerate(paths[:3]):
        wave = soundfile.read(path, dtype="float32")[0]
        long[place * 15 * 16000 :][: len(wave)] = wave
    soundfile.write(directory / "long.flac", long, 16000)
    (directory / "notes.txt").write_text("not audio by its name")
    (directory / "._a.wav").write_bytes(b"of an archive packed on a Mac")
    return directory


def listed(*names: object) -> io.TextIOWrapper:
    """Standard input with these lines."""
    return io.TextIOWrapper(io.BytesIO("\n".join(map(str, names)).encode()))


def printed(trained, capsys, *words: object, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of a run that ends with this exit code."""
    with pytest.raises(SystemExit) as ended:
        call(recognize, "--model", trained / "exp", "--beam_size", 2, *words)
    assert ended.value.code == code
    return capsys.readouterr()


def test_a_directory_gives_a_line_for_each_recording_and_one_for_each_of_its_utterances(trained, recordings, capsys):
    out, errors = printed(trained, capsys, recordings)
    others = f"{recordings}: 1 files that do not end as audio does are left out: {recordings}/notes.txt\n"
    assert errors == others
    lines = out.splitlines()
    found = Recognizer.from_pretrained(trained / "exp", beam_size=2)(str(recordings / "a.wav"))
    sure = {
        task: f"{task}={label} ({100 * found.probabilities[task][label]:.0f} %)" for task, label in found.labels.items()
    }
    assert lines[0] == f"{recordings}/a.wav: {sure['gender']} {sure['emotion']}  {found.text}".rstrip()
    assert lines[1].startswith(f"{recordings}/long.flac: gender=") and lines[1].endswith("(3 utterances in 0:45)")
    assert [line.partition(":")[0] for line in lines[2:5]] == ["  0"] * 3
    assert lines[5].startswith(f"{recordings}/more/b c.wav: ") and len(lines) == 6


def test_a_text_that_may_be_cut_is_named_on_standard_error(trained, recordings, capsys):
    out, errors = printed(trained, capsys, "--maxlenratio", 0, "--format", "jsonl", recordings / "long.flac")
    lines = errors.splitlines()
    assert len(lines) == 3 and lines[0].startswith(f"warning: {recordings}/long.flac: 0:00.0 to 0:00.")
    (warning,) = {warning for segment in json.loads(out)["segments"] for warning in segment["warnings"]}
    assert all(line.endswith(warning) for line in lines) and "maxlenratio" in warning


def test_unreadable_recordings_do_not_stop_the_others_and_are_the_exit_code(
    trained, recordings, tmp_path, capsys, monkeypatch
):
    (tmp_path / "text.wav").write_text("hello")
    names = [tmp_path / "text.wav", recordings / "a.wav", tmp_path / "missing.wav", "", 300 * "x"]
    monkeypatch.setattr("sys.stdin", listed(*names))
    out, errors = printed(trained, capsys, "-", code=3)
    assert [line.partition(": ")[0] for line in out.splitlines()] == [f"{recordings}/a.wav"]
    first, second, third, last = errors.splitlines()
    assert "xxx" in third
    assert first.startswith("error: text.wav: ") and second.startswith("error: missing.wav: ")
    assert last == "3 of 4 recordings could not be read"


def test_what_turns_out_unreadable_when_its_turn_comes_does_not_stop_the_others(
    trained, recordings, tmp_path, capsys, monkeypatch
):
    def open_and_lose(path, **how):
        recording = open_recording(path, **how)
        (tmp_path / "long.flac").unlink(missing_ok=True)
        return recording

    shutil.copy(recordings / "long.flac", tmp_path)
    monkeypatch.setattr(recognize, "open_recording", open_and_lose)
    files = [tmp_path / "long.flac", recordings / "a.wav", recordings / "more" / "b c.wav"]
    out, errors = printed(trained, capsys, *files, code=1)
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(files[1]), str(files[2])]
    assert errors.startswith("error: long.flac: ") and "no such file" in errors


def test_silence_is_answered_as_such_however_short(trained, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "b.wav", np.array([0.1]), 44100)  # no sample is left at 16 kHz
    out, _ = printed(trained, capsys, "--split", "never", tmp_path)
    assert out == f"{tmp_path}/a.wav: silence\n{tmp_path}/b.wav: silence\n"


def test_a_list_may_come_from_windows_and_has_to_name_something(trained, recordings, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{recordings}/a.wav\r\n\r\n".encode())))
    assert len(printed(trained, capsys, "-")[0].splitlines()) == 1
    monkeypatch.setattr("sys.stdin", listed())
    with pytest.raises(UserError, match="standard input names no recording"):
        call(recognize, "--model", trained / "exp", "-")


def test_behind_two_dashes_a_name_may_begin_with_one(trained, recordings, tmp_path, capsys, monkeypatch):
    shutil.copy(recordings / "a.wav", tmp_path / "-a.wav")
    monkeypatch.chdir(tmp_path)
    assert printed(trained, capsys, "--", "-a.wav")[0].startswith("-a.wav: gender=")


def test_nothing_is_written_beside_a_recording(trained, recordings, tmp_path):
    shutil.copy(recordings / "a.wav", tmp_path)
    with pytest.raises(UserError, match="a.wav lies there"):
        call(recognize, "--model", trained / "exp", "--out_dir", tmp_path, tmp_path)


def test_jsonl_holds_what_the_python_result_holds(trained, recordings, capsys):
    out, _ = printed(trained, capsys, "--format", "jsonl", recordings / "long.flac")
    found = Recognizer.from_pretrained(trained / "exp", beam_size=2)(str(recordings / "long.flac"))
    assert json.loads(out) == json.loads(json.dumps(found.to_dict())) and len(out.splitlines()) == 1


def test_csv_has_a_row_for_each_utterance_and_a_column_for_each_probability(trained, recordings, capsys):
    out, _ = printed(trained, capsys, "--format", "csv", recordings)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file"].rpartition("/")[2] for row in rows] == ["a.wav", *["long.flac"] * 3, "b c.wav"]
    for row in rows:
        assert float(row["p(emotion=happy)"]) + float(row["p(emotion=sad)"]) == pytest.approx(1, abs=1e-5)
        assert row["emotion"] in ("happy", "sad") and row["gender"] in ("female", "male")
    assert float(rows[2]["start"]) == pytest.approx(15, abs=0.2)


def test_a_file_of_subtitles_and_a_timeline_for_each_recording(trained, recordings, tmp_path, capsys):
    printed(trained, capsys, "--format", "srt", "--timeline", "emotion", "--out_dir", tmp_path, recordings)
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {f"{stem}.{end}" for stem in ("a", "long", "more/b c") for end in ("srt", "png")}
    blocks = (tmp_path / "long.srt").read_text().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == ["1", "2", "3"]
    assert blocks[1].splitlines()[1].startswith("00:00:1") and " --> " in blocks[1]
    assert (tmp_path / "long.png").read_bytes().startswith(b"\x89PNG")


def test_the_model_may_be_named_by_the_environment(trained, recordings, monkeypatch, capsys):
    monkeypatch.setenv("WHISPER_ER_MODEL", str(trained / "exp"))
    with pytest.raises(SystemExit):
        call(recognize, recordings / "a.wav")
    assert "a.wav: gender=" in capsys.readouterr().out


@pytest.mark.parametrize("words, message", [
    (["--timeline", "emotion"], "give --out_dir"), (["--timeline", "asr", "--out_dir", "x"], "allowed: gender emotion"),
    (["--longest", "0", "--split", "always"], "longest=0"), (["--device", "toaster"], "toaster"),
    (["--format", "srt", "b.wav"], "give --out_dir"),
    (["b.wav", "--format", "srt"], "give --out_dir"), (["--model", ""], "give --model DIR, or set WHISPER_ER_MODEL"),
    (["nothing_here"], "no audio in this directory"), (["--model", "nothing_here"], "nothing_here"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_recognised(trained, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing_here").mkdir()
    shutil.copy(next(iter(kaldi.read_table(trained / "test" / "wav.scp").values())), "a.wav")
    with pytest.raises(UserError, match=message):
        call(recognize, "--model", trained / "exp", "a.wav", *words)


def test_media_that_libsndfile_cannot_read_are_left_out_with_what_converts_them(tmp_path, capsys):
    (tmp_path / "b.M4A").touch()
    with pytest.raises(UserError, match=r"no audio in this directory; 1 media files .*: .*/b.M4A; convert it: ffmpeg"):
        find_audio_files([str(tmp_path)])
    (tmp_path / "a.wav").touch()
    assert find_audio_files([str(tmp_path)]) == [(tmp_path / "a.wav", Path("a.wav"))]
    assert "left out: 1 media files that libsndfile cannot read: " in capsys.readouterr().err


def test_two_recordings_are_never_written_to_one_file(trained, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "x.wav", np.zeros(8000), 16000)
    with pytest.raises(UserError, match=r"a/x.wav and .*b/x.wav would both be written to x\.\*"):
        call(recognize, "--model", trained / "exp", "--out_dir", tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "out").exists()


def test_a_reader_that_has_enough_ends_it_without_a_traceback(trained, recordings):
    listed = "\n".join([str(recordings / "a.wav")] * 300)
    command = f"{sys.executable} -m whisper_er recognize --model {trained / 'exp'} --beam_size 1 - | head -n 1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], input=listed, capture_output=True, text=True, check=False
    )
    assert result.returncode == 141 and len(result.stdout.splitlines()) == 1 and result.stderr == ""


def test_the_formats_of_a_silent_recording():
    silent = Recognition("a.wav", 40.0, "", {}, {}, {}, ())
    assert formats.as_text(silent) == "a.wav: silence\n"
    assert formats.as_csv(silent) == "a.wav,,,\n" and formats.as_srt(silent) == ""


def test_cells_with_commas_and_quotes_come_back_from_csv_and_line_ends_are_escaped():
    said = Segment(0, 1, 'so, "well"', {"emotion": "a,b"}, {}, {"emotion": {"a,b": 1.0}})
    found = Recognition('x\n".wav', 1.0, "", {}, {}, {}, (said,))
    ((name, _, _, text, label, _),) = csv.reader(io.StringIO(formats.as_csv(found)))
    assert (name, text, label) == ('x\\n".wav', 'so, "well"', "a,b")
    assert formats.as_text(found).count("\n") == 1


@pytest.mark.parametrize("seconds, short, long, srt", [
    (0, "0:00", "0:00.0", "00:00:00,000"), (59.97, "1:00", "1:00.0", "00:00:59,970"),
    (3599.9996, "1:00:00", "1:00:00.0", "01:00:00,000"), (36061.25, "10:01:01", "10:01:01.2", "10:01:01,250"),
])  # fmt: skip
def test_times_are_rounded_as_a_whole(seconds, short, long, srt):
    assert (clock(seconds), clock(seconds, 1), formats.srt_time(seconds)) == (short, long, srt)
