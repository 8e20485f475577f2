"""Posteriors without the label prior of the training: the formula, and what decoding does with it."""

import json
import shutil

import numpy as np
import pytest
import yaml
from tiny_experiment import call, decode_arguments, train_and_average, train_arguments, write_corpus

from whisper_er import Recognizer
from whisper_er.base.errors import UserError
from whisper_er.bin import calibrate, decode, train
from whisper_er.recognize.prior_correction import corrected, with_correction
from whisper_er.task import Prediction, Task, scale

EMOTION = Task("emotion", "category", ("angry", "happy", "sad"))
LABELS = {"happy": 5, "sad": 6}  # of the training set of write_corpus


def test_by_hand():
    """Six of eight labels of training were angry: 0.6 / 6, 0.3 / 1 and 0.1 / 1 are as 1, 3 and 1."""
    assert corrected([0.6, 0.3, 0.1], [6, 1, 1], 1.0) == pytest.approx([0.2, 0.6, 0.2])
    assert corrected([0.6, 0.3, 0.1], [6, 1, 1], 0.0) == pytest.approx([0.6, 0.3, 0.1])
    assert corrected([0.6, 0.3, 0.1], [7, 7, 7], 1.0) == pytest.approx([0.6, 0.3, 0.1])  # balanced: no prior
    assert corrected([0.8, 0.2], [16, 0], 0.5) == pytest.approx([0.5, 0.5])  # sqrt(16) is 4; 0 counts as 1
    assert corrected([1.0, 0.0], [10**9, 1], 2.0) == pytest.approx([1.0, 0.0])


def test_as_the_posterior_that_a_balanced_training_has():
    """Two Gaussians of whatever prior: Bayes' posterior, corrected by tau = 1, is that of equal priors."""
    x_N, counts = np.linspace(-3, 3, 50), np.array([90, 10])
    likelihood_NC = np.exp(-((x_N[:, None] - np.array([-1.0, 1.0])) ** 2) / 2)
    joint_NC = likelihood_NC * counts
    expected_NC = likelihood_NC / likelihood_NC.sum(1, keepdims=True)
    found_NC = [corrected(row_C, counts, 1.0) for row_C in joint_NC / joint_NC.sum(1, keepdims=True)]
    np.testing.assert_allclose(found_NC, expected_NC, rtol=1e-9)


def test_labels_follow_where_there_are_any_and_scales_and_texts_stay():
    tasks = [Task("asr", "text"), EMOTION, Task("gender", "category", ("f", "m")), scale("valence", 1, 3, 3)]
    posteriors = {"emotion": [0.6, 0.3, 0.1], "gender": [0.9, 0.1], "valence": [0.2, 0.3, 0.5]}
    values = {"asr": "well", "emotion": "angry", "gender": "", "valence": "2.3000"}
    counts = {"emotion": {"angry": 6, "happy": 1, "sad": 1}, "gender": {"f": 3, "m": 1}}
    found = with_correction(Prediction("u", values, posteriors, -1.5), tasks, counts, 1.0)
    assert found.values == values | {"emotion": "happy"} and found.score == -1.5
    assert found.posteriors["emotion"] == pytest.approx([0.2, 0.6, 0.2])
    assert found.posteriors["gender"] == pytest.approx([0.75, 0.25]) and found.posteriors["valence"] == [0.2, 0.3, 0.5]
    assert values["emotion"] == "angry"  # what came in is as it was


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_corpus(tmp_path_factory.mktemp("prior") / "corpus")
    train_and_average(root, root / "exp", "max_steps=2")
    return root


def lines(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "posteriors.jsonl").read_text(encoding="utf-8").splitlines()]


def test_training_records_what_decoding_corrects_by(root, tmp_path):
    path = root / "exp/data.yaml"
    recorded = yaml.safe_load(path.read_text())
    assert recorded["train_set"]["label_counts"] == {"gender": {"female": 4, "male": 4}, "emotion": LABELS}
    plain, asked = tmp_path / "plain", tmp_path / "asked"
    call(decode, *decode_arguments(root, root / "exp", plain))
    exp = shutil.copytree(root / "exp", tmp_path / "exp", symlinks=True)
    skewed = {"happy": 1, "sad": 10**6}
    train_set = recorded["train_set"] | {"label_counts": {"emotion": skewed}}
    (exp / "data.yaml").write_text(yaml.safe_dump(recorded | {"train_set": train_set}))
    call(decode, *decode_arguments(root, exp, asked, "prior_correction=1"))
    for before, after in zip(lines(plain), lines(asked), strict=True):
        assert before["gender"] == after["gender"] and before["score"] == after["score"]
        odds = before["emotion"]["happy"] / before["emotion"]["sad"] * 10**6
        assert after["emotion"]["happy"] / after["emotion"]["sad"] == pytest.approx(odds)
    assert [line.split()[1] for line in (asked / "utt2emotion").read_text().splitlines()] == ["happy"] * 4
    assert (asked / "text").read_bytes() == (plain / "text").read_bytes()
    assert json.loads((asked / "decode.json").read_text())["prior_correction"] == 1.0
    result = Recognizer.from_pretrained(exp, beam_size=2, prior_correction=1)(root / "wav/test-00.wav")
    assert result.emotion == "happy"
    assert result.probabilities["emotion"] == pytest.approx(lines(asked)[0]["emotion"], abs=1e-4)
    call(train, *train_arguments(root, exp, "max_steps=2"))  # the record is no difference
    call(decode, *decode_arguments(root, root / "exp", valid := tmp_path / "valid", "--data_dir", root / "valid",
                                   "--allow_shared_speakers", "true", "prior_correction=0.5"))  # fmt: skip
    with pytest.raises(UserError, match="decoded with prior_correction=0.5; decode it again without"):
        call(calibrate, "--exp_dir", root / "exp", "--hyp_dir", valid)

    del train_set["label_counts"]
    (exp / "data.yaml").write_text(yaml.safe_dump(recorded | {"train_set": train_set}))
    with pytest.raises(UserError, match="prior_correction=1: this model has no record of the labels"):
        Recognizer.from_pretrained(exp, prior_correction=1)(root / "wav/test-00.wav")
