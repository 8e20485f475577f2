"""Stage 5 with the references before each answer, and how its scores are shown."""

import json
import shutil

import pytest
from tiny_experiment import TASKS, call, change, decode_arguments

from whisper_er import Recognizer
from whisper_er.base.errors import UserError
from whisper_er.bin import decode, export, results, score
from whisper_er.config import DecodeConfig
from whisper_er.data import kaldi

CEILING = "A ceiling, not a result: each answer was given the references of the tasks before it (teacher_forced)."


def posteriors(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "posteriors.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def exp(trained, tmp_path):
    exp = shutil.copytree(trained / "exp", tmp_path / "exp", symlinks=True)
    call(decode, *decode_arguments(trained, exp, exp / "decode_forced/test", "teacher_forced=true"))
    return exp


def test_the_references_are_read_and_only_those_before_an_answer_change_it(trained, exp, tmp_path):
    changed = shutil.copytree(trained / "test", tmp_path / "changed")
    change(changed, "utt2gender", test_00="female")
    change(changed, "utt2emotion", test_01="sad")
    call(decode, *decode_arguments(trained, exp, tmp_path / "hyp", "teacher_forced=true", "--data_dir", changed))
    before, after = posteriors(exp / "decode_forced/test"), posteriors(tmp_path / "hyp")
    assert before[0]["emotion"] != after[0]["emotion"] and before[0]["gender"] == after[0]["gender"]
    assert before[1:] == after[1:]
    assert sorted(kaldi.read_dir(tmp_path / "hyp")) == ["text", "utt2emotion", "utt2gender", "utt2spk"]
    assert json.loads((tmp_path / "hyp/decode.json").read_text())["teacher_forced"] is True


def test_its_scores_are_called_a_ceiling_and_stay_out_of_a_model_card(trained, exp, tmp_path, capsys):
    hyp = exp / "decode_forced/test"
    call(score, "--ref_dir", trained / "test", "--hyp_dir", hyp, "--tasks", TASKS, "--exp_dir", exp, "--out",
         hyp / "score/result.json")  # fmt: skip
    call(results, "--exp_dir", exp, "--test_sets", "test", "--folds", "")
    for name in ("RESULTS.md", "report.html"):
        assert CEILING in (exp / name).read_text(encoding="utf-8"), name
    assert CEILING in capsys.readouterr().out
    call(export, "--exp_dir", exp, "--out_dir", tmp_path / "export")
    assert "a ceiling, decoded with references: left out of the card" in capsys.readouterr().out
    assert "decode_forced" not in (tmp_path / "export/README.md").read_text(encoding="utf-8")


def test_recordings_have_no_references(trained):
    recognizer = Recognizer.from_pretrained(trained / "exp")
    recognizer.decoding = DecodeConfig(teacher_forced=True)
    with pytest.raises(UserError, match="teacher_forced: recordings have no references"):
        recognizer(trained / "wav/test-00.wav")
