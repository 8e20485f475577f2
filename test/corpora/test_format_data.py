"""Stage 1: what is 16 kHz mono stays, all else becomes so, and what cannot is named before anything appears."""

import io
import os
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from entry_point import error_of, run_entry_point

from whisper_er.audio.reading import load_audio
from whisper_er.base.errors import UserError
from whisper_er.bin import check_audio
from whisper_er.corpora.changed_audio import STATES, ChangedAudio, changed_audio
from whisper_er.corpora.format_audio import format_data
from whisper_er.data import kaldi

RATE = 16000


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def write_data(path: Path, wav_scp: kaldi.Table, segments: kaldi.Table | None = None) -> Path:
    utt_ids = segments or wav_scp
    data = {"wav.scp": wav_scp} | ({"segments": segments} if segments else {})
    data |= {"utt2spk": dict.fromkeys(utt_ids, "s"), "utt2emotion": dict.fromkeys(utt_ids, "sad")}
    kaldi.write_dir(path, data)
    return path


def wav(path: Path, samples: np.ndarray, rate: int = RATE, **how: str) -> str:
    soundfile.write(path, samples, rate, **how)
    return str(path)


def test_audio_that_is_16_khz_mono_keeps_its_entry(tmp_path):
    kaldiio.save_ark(
        str(tmp_path / "a.ark"), {"c": (RATE, (9000 * tone(RATE)[:300]).astype(np.int16))}, scp=str(tmp_path / "scp")
    )
    entries = {
        "a": wav(tmp_path / "a.wav", tone(RATE)),
        "b": wav(tmp_path / "b.flac", tone(RATE, 0.5)),
        "c": kaldi.read_table(tmp_path / "scp")["c"],
    }
    source = write_data(tmp_path / "data", entries)
    result = run_entry_point("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump")
    assert (result.returncode, result.stderr) == (0, "")
    assert "3 utterances, 0.00 hours; 3 kept as they are, 0 written" in result.stdout
    data = kaldi.read_dir(tmp_path / "dump")
    assert data == kaldi.read_dir(source) | {"utt2num_samples": {"a": "16000", "b": "8000", "c": "300"}}
    assert list((tmp_path / "dump" / "wav").iterdir()) == []


def test_fitting_audio_is_read_up_to_its_first_sound(tmp_path, monkeypatch):
    read, sizes = soundfile.SoundFile.read, []

    def count(self, frames, *words, **how):
        sizes.append(frames)
        return read(self, frames, *words, **how)

    monkeypatch.setattr(soundfile.SoundFile, "read", count)
    late = np.concatenate([np.zeros(6 * RATE // 5), tone(RATE, 9)])
    files = {"a": wav(tmp_path / "a.flac", tone(RATE, 9)), "b": wav(tmp_path / "b.flac", late)}
    format_data(write_data(tmp_path / "data", files), tmp_path / "dump")
    assert sizes == [8000] + 3 * [8000]


@pytest.mark.parametrize("audio_format, nj", [("wav", 2), ("flac.ark", 1)])
def test_silent_utterances_stop_the_stage_or_are_named_and_kept(tmp_path, audio_format, nj):
    entries = {
        "a-talk": wav(tmp_path / "a.wav", tone(RATE)),
        "b-wav": wav(tmp_path / "b.wav", np.zeros(RATE)),
        "c-flac": wav(tmp_path / "c.flac", np.full(RATE, 0.1)),
        "d-gsm": wav(tmp_path / "d.wav", np.zeros(RATE), subtype="GSM610"),  # cannot seek
        "e-stereo": wav(tmp_path / "e.wav", np.zeros((9, 2))),
        "f-quiet": wav(tmp_path / "f.wav", 0.01 * tone(RATE)),
    }
    source = write_data(tmp_path / "data", entries)
    how = ["--data_dir", source, "--out_dir", tmp_path / "dump", "--nj", nj, "--audio_format", audio_format]
    message = "4 of 6 utterances are silent (nothing is louder than -70 dB for 0.1 s): b-wav, c-flac, d-gsm, e-stereo"
    assert f"{source}: {message}; leave them out in local/data.sh, or keep them" in error_of("format_data", *how)
    assert not (tmp_path / "dump").exists()
    result = run_entry_point("format_data", *how, "--silent_audio", "keep")
    assert (result.returncode, result.stderr) == (0, "") and f"{message}; they are kept\n" in result.stdout
    assert kaldi.read_dir(tmp_path / "dump")["utt2num_samples"].keys() == entries.keys()


def test_a_silent_segment_of_a_loud_recording_is_named(tmp_path):
    entry = wav(tmp_path / "r.wav", np.concatenate([tone(RATE), np.zeros(RATE)]))
    source = write_data(tmp_path / "data", {"r": entry}, {"u1": "r 0 1", "u2": "r 1.1 2"})
    with pytest.raises(UserError, match=r"1 of 2 utterances are silent .*: u2; leave"):
        format_data(source, tmp_path / "dump")


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_another_rate_is_resampled(tmp_path, rate):
    source = write_data(tmp_path / "data", {"a": wav(tmp_path / "a.wav", tone(rate), rate)})
    format_data(source, tmp_path / "dump")
    samples = load_audio(kaldi.read_dir(tmp_path / "dump")["wav.scp"]["a"], "a")
    assert len(samples) == RATE
    inner = slice(RATE // 10, -RATE // 10)  # the filter rings where the tone starts and ends
    np.testing.assert_allclose(samples[inner], tone(RATE)[inner], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    left, right = np.tile([0.5, 0.5, -0.25], 9), np.tile([0.25, -0.5, -0.25], 9)
    source = write_data(tmp_path / "data", {"a": wav(tmp_path / "a.wav", np.stack([left, right], axis=1))})
    format_data(source, tmp_path / "dump")
    data = kaldi.read_dir(tmp_path / "dump")
    assert data["wav.scp"]["a"] == str(tmp_path / "dump" / "wav" / "a.wav")
    assert data["utt2num_samples"]["a"] == "27"
    np.testing.assert_array_equal(load_audio(data["wav.scp"]["a"], "a"), np.tile([0.375, 0, -0.25], 9))
    assert soundfile.info(data["wav.scp"]["a"]).subtype == "PCM_16"


@pytest.mark.parametrize("nj", [1, 2])
def test_channels_that_cancel_out_are_not_averaged_but_counted(tmp_path, capsys, nj):
    entries = {f"u{number}": wav(tmp_path / f"{number}.wav", np.stack([tone(8000), -tone(8000)], 1), 8000)
               for number in range(7)}  # fmt: skip
    entries["v"] = wav(tmp_path / "v.wav", np.stack([tone(8000), tone(8000)], 1), 8000)
    format_data(write_data(tmp_path / "data", entries), tmp_path / "dump", nj=nj)
    names = ", ".join(f"u{number} (channel 1 of 2)" for number in range(5))
    first, _ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path / 'data'}: of 7 utterances only the loudest channel is used, because the mean ")
    assert first.endswith(f": {names} and 2 more")
    written = kaldi.read_dir(tmp_path / "dump")["wav.scp"]
    np.testing.assert_array_equal(load_audio(written["u3"], "u3"), load_audio(written["v"], "v"))


@pytest.mark.parametrize("segments", [None, {"u": "r 0 0.5"}])
def test_integers_as_floats_are_refused_though_16_khz_mono_is_not_read(tmp_path, segments):
    entry = wav(tmp_path / "a.wav", np.round(tone(RATE) * 2**15), subtype="FLOAT")
    source = write_data(tmp_path / "data", {"r": entry}, segments)
    line = error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump")
    assert f"{entry}: samples up to 16384; allowed are floats in [-1, 1]" in line


@pytest.mark.parametrize("audio_format", ["wav.ark", "flac.ark"])
@pytest.mark.parametrize("nj", [1, 3])
def test_an_ark_holds_the_samples_of_the_files(tmp_path, audio_format, nj):
    random = np.random.default_rng(0)
    entries, waves = {}, {}
    for number in range(25):
        waves[f"ü{number:02}"] = random.integers(-9000, 9000, 200 + number, dtype=np.int16)
        entries[f"ü{number:02}"] = wav(tmp_path / f"{number}.wav", waves[f"ü{number:02}"])
    source = write_data(tmp_path / "data", entries)
    options = ["--nj", nj, "--audio_format", audio_format]
    result = run_entry_point("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump", *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert "0 kept as they are, 25 written" in result.stdout
    arks = sorted((tmp_path / "dump" / "wav").iterdir())
    assert all(path.suffix == ".ark" for path in arks) and len(arks) == (1 if nj == 1 else 13)  # 25 / 24, rounded up: 2
    written = kaldi.read_table(tmp_path / "dump" / "wav.scp")
    for utt_id, samples in waves.items():
        np.testing.assert_array_equal(load_audio(written[utt_id], utt_id) * 32768, samples)
    read = {utt_id: array * 32768 for path in arks for utt_id, (_, array) in kaldiio.load_ark(str(path))}
    assert read.keys() == waves.keys()
    assert all(np.array_equal(read[utt_id], waves[utt_id]) for utt_id in waves)


@pytest.mark.parametrize("nj", [1, 2])
def test_segments_are_cut_at_their_samples(tmp_path, nj):
    samples = np.random.default_rng(0).integers(-9000, 9000, 32000, dtype=np.int16)
    entry = wav(tmp_path / "r.wav", samples)
    segments = {"u1": "r 0 0.5", "u2": "r 0.5 1.25", "u3": "r 1.25 2.005", "u4": "r2 1 2"}
    source = write_data(tmp_path / "data", {"r": entry, "r2": entry}, segments)
    format_data(source, tmp_path / "dump", nj=nj)
    data = kaldi.read_dir(tmp_path / "dump")
    assert "segments" not in data
    assert data["utt2num_samples"] == {"u1": "8000", "u2": "12000", "u3": "12000", "u4": "16000"}
    for utt_id, start, end in (("u1", 0, 8000), ("u2", 8000, 20000), ("u3", 20000, 32000), ("u4", 16000, 32000)):
        np.testing.assert_array_equal(load_audio(data["wav.scp"][utt_id], utt_id) * 32768, samples[start:end])


def test_processes_change_nothing(tmp_path):
    entries = {f"u{i}": wav(tmp_path / f"{i}.wav", tone(8000, 0.1 + i / 50), 8000 * (i % 3 + 1)) for i in range(9)}
    source = write_data(tmp_path / "data", entries)
    dumps = []
    for nj in (1, 2):
        result = run_entry_point("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump", "--nj", nj)
        assert result.returncode == 0, result.stderr
        files = sorted(file for file in (tmp_path / "dump").rglob("[!.]*") if file.is_file())
        dumps.append({file: file.read_bytes() for file in files})
    assert dumps[0] == dumps[1]
    assert len(list((tmp_path / "dump" / "wav").iterdir())) == 6


def test_a_command_is_run_only_if_allowed(tmp_path):
    entry = wav(tmp_path / "a b.wav", tone(RATE))
    source = write_data(tmp_path / "data", {"a": f"cat '{entry}' | tee {tmp_path}/run |"})
    dump = ("--data_dir", source, "--out_dir", tmp_path / "dump")
    line = error_of("format_data", *dump)
    assert f"{source}/wav.scp: 1 entries are commands, e.g. 'a'" in line
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "dump").exists()
    assert run_entry_point("format_data", *dump, "--allow_pipes", "true").returncode == 0
    np.testing.assert_array_equal(
        load_audio(kaldi.read_dir(tmp_path / "dump")["wav.scp"]["a"], "a"), load_audio(entry, "a")
    )


def test_a_command_that_fails_is_named_with_its_last_words(tmp_path):
    source = write_data(tmp_path / "data", {"utt7": f"cat {tmp_path}/none.wav | cat |"})
    line = error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump", "--allow_pipes", "true")
    assert "utt7: " in line
    assert "No such file" in line


def unusable(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not audio")
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(8000), 8000, format="FLAC")
    (tmp_path / "cut.flac").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    return {
        "u-missing": str(tmp_path / "none.wav"),
        "u-empty": str(tmp_path / "empty.wav"),
        "u-unreadable": str(tmp_path / "text.wav"),
        "u-zero": wav(tmp_path / "zero.wav", tone(RATE, 0)),
        "u-cut-8-khz": str(tmp_path / "cut.flac"),
        "u-nan-stereo": wav(tmp_path / "nan.wav", np.full((9, 2), np.nan), subtype="FLOAT"),
    }


@pytest.mark.parametrize("utt_id", ["u-missing", "u-empty", "u-unreadable", "u-zero", "u-cut-8-khz", "u-nan-stereo"])
@pytest.mark.parametrize("nj", [1, 2])
def test_an_unusable_utterance_stops_the_stage_and_is_named_with_its_file(tmp_path, utt_id, nj):
    bad = unusable(tmp_path)[utt_id]
    source = write_data(tmp_path / "data", {"good": wav(tmp_path / "a.wav", np.zeros((9, 2))), utt_id: bad})
    before = sorted(tmp_path.iterdir())
    line = error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump", "--nj", nj)
    assert f"{source}: 1 of 2 utterances cannot be used" in line
    assert f"{utt_id}: {bad}: " in line
    assert sorted(tmp_path.iterdir()) == before


def test_of_many_unusable_utterances_five_are_named_and_all_counted(tmp_path):
    source = write_data(tmp_path / "data", {f"u{i}": f"none{i}.wav" for i in range(8)})
    line = error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump")
    assert "8 of 8 utterances cannot be used" in line
    assert all(f"u{i}: none{i}.wav" in line for i in range(5))
    assert "u5" not in line
    assert line.endswith("and 3 more\n")


@pytest.mark.parametrize("segment", ["r 0.5 1.2", "r 1.0 1.005", "r 0.5 0.50001", "r 7 8"])
def test_a_segment_without_samples_of_the_recording_is_named(tmp_path, segment):
    entry = wav(tmp_path / "r.wav", tone(RATE))
    source = write_data(tmp_path / "data", {"r": entry}, {"u1": "r 0 0.5", "u2": segment})
    line = error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump")
    assert "1 of 2 utterances" in line
    assert f"u2: {entry}: segment" in line


def test_every_utterance_of_a_missing_recording_is_counted(tmp_path):
    source = write_data(tmp_path / "data", {"r": "none.wav"}, {"u1": "r 0 1", "u2": "r 1 2"})
    line = error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump")
    assert "2 of 2 utterances" in line
    assert "u1: none.wav: no such file" in line
    assert "u2: in the same recording" in line


def test_a_failed_run_leaves_the_earlier_dump_as_it_was(tmp_path):
    good = write_data(tmp_path / "data", {"a": wav(tmp_path / "a.wav", np.stack([tone(RATE)] * 2, axis=1))})
    format_data(good, tmp_path / "dump")
    before = {file: file.read_bytes() for file in (tmp_path / "dump").rglob("*") if file.is_file()}
    bad = write_data(tmp_path / "bad", {"a": str(tmp_path / "a.wav"), "b": "none.wav"})
    error_of("format_data", "--data_dir", bad, "--out_dir", tmp_path / "dump")
    assert {file: file.read_bytes() for file in (tmp_path / "dump").rglob("*") if file.is_file()} == before


def test_an_invalid_directory_and_the_input_as_output_are_refused(tmp_path):
    source = write_data(tmp_path / "data", {"a": wav(tmp_path / "a.wav", tone(RATE))})
    assert "--out_dir is --data_dir" in error_of("format_data", "--data_dir", source, "--out_dir", source)
    (source / "utt2emotion").write_text("b sad\n")
    line = error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump")
    assert f"{source}/utt2emotion: 1 ids" in line
    assert not (tmp_path / "dump").exists()
    assert "--nj 0" in error_of("format_data", "--data_dir", source, "--out_dir", tmp_path / "dump", "--nj", 0)


def test_an_unknown_option_exits_2(tmp_path):
    assert run_entry_point("format_data", "--data_dir", tmp_path, "--out_dir", tmp_path, "--rate", 8000).returncode == 2
    assert run_entry_point("format_data", "--data", tmp_path, "--out_dir", tmp_path).returncode == 2


@pytest.fixture
def formatted(tmp_path) -> tuple[Path, Path]:
    """A set and what it became: `kept` is used as it is, `cut` a recording of another rate."""
    entries = {"kept": wav(tmp_path / "kept.wav", tone(RATE)), "cut": wav(tmp_path / "cut.wav", tone(8000), 8000)}
    source = write_data(tmp_path / "data", entries | {"run": f"cat {tmp_path}/kept.wav |"})
    format_data(source, tmp_path / "dump", allow_pipes=True)
    assert changed_audio(source, tmp_path / "dump") == ChangedAudio([], [], [])
    return source, tmp_path / "dump"


def test_a_recording_with_another_size_or_time_has_changed(formatted):
    kept, cut = (str(formatted[0].parent / name) for name in ("kept.wav", "cut.wav"))
    times = os.stat(kept)
    wav(kept, tone(RATE, 0.5))
    os.utime(kept, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert changed_audio(*formatted) == ChangedAudio([kept], [], [])
    os.utime(cut, ns=(0, 1))  # an older one has come in its place
    assert sorted(changed_audio(*formatted).changed) == [cut, kept]
    format_data(*formatted, allow_pipes=True)
    assert changed_audio(*formatted) == ChangedAudio([], [], [])


def test_audio_of_a_segment_or_an_ark_has_changed_with_its_file(tmp_path):
    sound = (tone(RATE) * 20000).astype(np.int16)[:300]
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"c": (RATE, sound)}, scp=str(tmp_path / "scp"))
    recordings = {"c": kaldi.read_table(tmp_path / "scp")["c"], "r": wav(tmp_path / "r.wav", tone(RATE))}
    source = write_data(tmp_path / "data", recordings, {"r1": "r 0 0.5", "r2": "r 0.5 1", "c1": "c 0 0.01"})
    format_data(source, tmp_path / "dump", audio_format="wav.ark")
    for name in ("a.ark", "r.wav"):
        os.utime(tmp_path / name, ns=(0, 1))
    changed = changed_audio(source, tmp_path / "dump")
    assert changed == ChangedAudio([str(tmp_path / "a.ark"), str(tmp_path / "r.wav")], [], [])


def test_written_audio_that_is_missing_or_cut_is_lost_and_a_copy_of_it_is_not(formatted):
    written = {utt_id: formatted[1] / f"wav/{utt_id}.wav" for utt_id in ("cut", "run")}
    os.utime(written["cut"], ns=(0, 1))
    assert changed_audio(*formatted) == ChangedAudio([], [], [])
    os.truncate(written["cut"], 100)
    written["run"].unlink()
    assert sorted(changed_audio(*formatted).lost) == sorted(map(str, written.values()))


def test_a_recording_that_is_gone_is_needed_only_where_it_is_used_as_it_is(formatted):
    kept, cut = (formatted[0].parent / name for name in ("kept.wav", "cut.wav"))
    cut.unlink()
    assert changed_audio(*formatted) == ChangedAudio([], [str(cut)], [])
    kept.unlink()
    with pytest.raises(
        UserError, match=f"wav.scp: 1 of 2 files are used as they are, but do not exist .*: {kept}; put"
    ):
        changed_audio(*formatted)


def test_without_a_record_what_is_newer_than_the_dump_has_changed(formatted):
    (formatted[1] / STATES).unlink()
    assert changed_audio(*formatted) == ChangedAudio([], [], [])
    cut = formatted[0].parent / "cut.wav"
    os.utime(cut, ns=(0, (formatted[1] / "wav.scp").stat().st_mtime_ns + 1))
    assert changed_audio(*formatted) == ChangedAudio([str(cut)], [], [])


def test_check_audio_is_silent_until_there_is_a_reason_to_format_anew(formatted, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["check_audio", "--data_dir", *map(str, (formatted[0], "--dump_dir", formatted[1]))]
    )
    check_audio.main()
    assert capsys.readouterr().out == ""
    wav(formatted[0].parent / "cut.wav", tone(8000, 2), 8000)
    (formatted[1] / "wav/run.wav").unlink()
    check_audio.main()
    changed, lost = capsys.readouterr().out.splitlines()
    assert changed == f"{formatted[0]}: 1 audio files have changed: {formatted[0].parent}/cut.wav"
    assert lost == f"{formatted[1]}: 1 audio files are missing or cut: {formatted[1]}/wav/run.wav"
    (formatted[1] / "wav.scp").unlink()
    check_audio.main()
    assert capsys.readouterr().out == f"{formatted[1]}/wav.scp is missing\n"
