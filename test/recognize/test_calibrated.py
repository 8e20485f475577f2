"""Temperatures of an experiment: fitted on its validation set alone, used where they are asked for."""

import json
import shutil
from contextlib import suppress

import numpy as np
import pytest
from tiny_experiment import call, decode_arguments

from whisper_er import Recognizer
from whisper_er.base.errors import UserError
from whisper_er.bin import calibrate, decode
from whisper_er.score.temperature import tempered


def lines(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "posteriors.jsonl").read_text(encoding="utf-8").splitlines()]


def say_of_valid(path) -> None:
    """Let the posteriors be 9 to 1 sure of sad, which two of three are, and of the gender right."""
    genders = {"valid-00": 0.1, "valid-01": 0.9, "valid-02": 0.5}  # of female; the last has no reference
    said = [
        {"utt_id": utt_id, "emotion": {"happy": 0.1, "sad": 0.9}, "gender": {"female": female, "male": 1 - female}}
        for utt_id, female in genders.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in said))


def test_temperatures_of_the_validation_set_change_the_posteriors_of_the_test_set_and_no_answer(
    trained, tmp_path, capsys
):
    exp = shutil.copytree(trained / "exp", tmp_path / "exp", symlinks=True)
    plain, asked = exp / "decode_default/test", exp / "decode_calibrate/test"
    call(decode, *decode_arguments(trained, exp, plain))
    valid = exp / "calibration"
    with suppress(UserError):  # its answers may all be right
        call(calibrate, "--exp_dir", exp, "--config", trained / "decode.yaml", "beam_size=1")
    assert json.loads((valid / "decode.json").read_text())["beam_size"] == 1
    assert [line["utt_id"] for line in lines(valid)] == ["valid-00", "valid-01", "valid-02"]
    (exp / "calibration.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="calibrate: no temperature is fitted for these weights; run whisper-er cal"):
        call(decode, *decode_arguments(trained, exp, asked, "calibrate=true"))
    with pytest.raises(UserError, match=r"corpus/test: not the validation set of .*never a test set"):
        call(calibrate, "--exp_dir", exp, "--ref_dir", trained / "test", "--hyp_dir", plain)
    with pytest.raises(UserError, match="decode_default/test.*missing valid-00"):
        call(calibrate, "--exp_dir", exp, "--hyp_dir", plain)
    say_of_valid(valid / "posteriors.jsonl")
    call(calibrate, "--exp_dir", exp, "--hyp_dir", valid)
    assert "gender: no temperature, and posteriors stay as they are" in capsys.readouterr().out
    written = json.loads((exp / "calibration.json").read_text())
    assert written["ref_dir"] == str(trained / "valid") and written["tasks"]["emotion"]["num_utterances"] == 3
    assert written["tasks"].keys() == {"emotion"}
    temperature = written["tasks"]["emotion"]["temperature"]
    assert temperature == pytest.approx(np.log(9) / np.log(2))  # 9 ** (1 / temperature) to 1 is two in three

    call(decode, *decode_arguments(trained, exp, asked, "calibrate=true"))
    for before, after in zip(lines(plain), lines(asked), strict=True):
        assert before["gender"] == after["gender"]
        expected = tempered(list(before["emotion"].values()), temperature)
        assert list(after["emotion"].values()) == pytest.approx(expected)
    for table in ("text", "utt2gender", "utt2emotion"):
        assert (asked / table).read_bytes() == (plain / table).read_bytes()
    with pytest.raises(UserError, match="decoded with calibrate=true; decode it again without"):
        call(calibrate, "--exp_dir", exp, "--hyp_dir", asked)
    result = Recognizer.from_pretrained(exp, beam_size=2, calibrate=True)(trained / "wav/test-00.wav")
    assert result.probabilities["emotion"] == pytest.approx(lines(asked)[0]["emotion"], abs=1e-4)

    (exp / "calibration.json").write_text(json.dumps(written | {"weights": "other.safetensors"}))
    with pytest.raises(UserError, match="no temperature is fitted for these weights"):
        Recognizer.from_pretrained(exp, calibrate=True)(trained / "wav/test-00.wav")
