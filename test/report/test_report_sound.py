"""What sound report.html holds, what it links to, and what it says of the rest."""

import re
import shutil
from pathlib import Path

import pytest
from parsed_report import rewritten
from small_results import (
    ABOUT,
    ASR,
    EMOTION,
    SECONDS,
    pairs_of,
    read_two_folds,
    seconds_of,
    write_two_folds,
)
from tiny_experiment import call

from whisper_er.bin import results
from whisper_er.report import audio
from whisper_er.report.experiment import write_report
from whisper_er.score import scoring
from whisper_er.score.pairing import Pairs


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("recipe")
    write_two_folds(root)
    return root


def test_sound_is_embedded_errors_first_up_to_the_budget_and_linked_beyond(root):
    exp = root / "exp/ser"
    whole = rewritten(exp)
    assert len(whole.sounds()) == 8 and whole.data["sounds"] == list(range(8))
    for mp3 in whole.sounds():
        assert seconds_of(mp3) == pytest.approx(SECONDS, abs=0.1)
    assert "of 8 utterances 8 are in this file" in whole.text and "licence applies" in whole.text
    one = len(whole.blocks["sound-0"])
    some = rewritten(exp, 2.5 * one / audio.MEGABYTE)
    assert some.data["sounds"][:2] == [0, 1] and len(some.sounds()) == 2
    for row, link in zip(some.data["rows"][2:], some.data["sounds"][2:]):
        assert (exp / link).resolve() == root / f"dump/fold{'ab'.index(row[0][0]) + 1}/wav/{row[0]}.wav"
    assert rewritten(exp, 0).sounds() == []


def test_sound_of_an_ark_is_embedded_and_beyond_the_budget_there_is_none(tmp_path):
    exp = write_two_folds(tmp_path, "flac.ark")
    whole = rewritten(exp)
    assert len(whole.sounds()) == 8 and seconds_of(whole.sounds()[7]) == pytest.approx(SECONDS, abs=0.1)
    none = rewritten(exp, 0)
    assert none.data["sounds"] == [None] * 8 and "8 have none" in none.text


def test_without_the_data_or_one_of_its_files_the_report_is_written_and_says_so(tmp_path):
    exp = write_two_folds(tmp_path)
    (tmp_path / "dump/fold1/wav/a01.wav").write_bytes(b"RIFF of nothing")
    shutil.rmtree(tmp_path / "dump/fold2")
    parsed = rewritten(exp)
    assert len(parsed.sounds()) == 3
    assert "Audio of 1 utterances cannot be read: a01: " in parsed.text
    assert re.search(r"No audio for 4 utterances: .*dump/fold2/wav.scp: no such file", parsed.text)


def test_a_name_of_a_sound_file_becomes_one_relative_link(tmp_path):
    for name in ("a b.wav", "x#?&%20.wav", "\u00e9<.wav", "javascript:alert(1).wav"):
        (tmp_path / name).write_bytes(b"x")
        link = audio.link(str(tmp_path / name), tmp_path / "exp" / "x")
        assert re.fullmatch(r"\.\./\.\./[\w.%()]+", link, re.ASCII), link
    assert audio.link("cat x.wav |", tmp_path) is None and audio.link(str(tmp_path / "gone.wav"), tmp_path) is None


def test_an_experiment_that_does_not_say_where_its_data_was_has_a_report_without_sound(tmp_path):
    for fold, prefix, named in (("1", "a", {}), ("2", "b", {"ref_dir": 7})):
        pairs = pairs_of([("sad", "sad", 0.5)] * 2, prefix)
        directory = tmp_path / f"fold{fold}/decode_x/test/score/result.json"
        scoring.write_score(
            directory,
            ABOUT | named | scoring.score_pairs([ASR, EMOTION], pairs).to_json(),
            Pairs(
                pairs.utt_ids,
                pairs.speakers,
                pairs.groups,
                {task.name: pairs.tasks[task.name] for task in (ASR, EMOTION)},
            ),
        )
    parsed = rewritten(tmp_path)
    assert parsed.data["sounds"] == [None] * 4 and "does not name the data directory" in parsed.text


def test_without_an_encoder_the_page_is_written_and_says_so(tmp_path, monkeypatch):
    exp_dir = write_two_folds(tmp_path)

    def no_encoder(*args, **options):
        raise ValueError("Unknown format: 'MP3'")

    audio.encode.cache_clear()
    monkeypatch.setattr("whisper_er.report.audio.soundfile.write", no_encoder)
    sounds = write_report(exp_dir, ["./run.sh"], [read_two_folds(exp_dir)], 20)
    assert not sounds.embedded and "libsndfile cannot write MP3 here" in sounds.problems[0]


@pytest.mark.parametrize("size", ["-1", "x", "nan", "501"])
def test_a_size_of_audio_that_is_none_is_refused(tmp_path, capsys, size):
    with pytest.raises(SystemExit) as exit_:
        call(results, "--exp_dir", tmp_path, "--test_sets", "test", f"--report_audio_mb={size}")
    assert exit_.value.code == 2 and "--report_audio_mb" in capsys.readouterr().err
