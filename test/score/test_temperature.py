"""Temperatures: what one does to a posterior, and which is found."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from whisper_er.score import temperature
from whisper_er.score.pairing import TaskPairs
from whisper_er.score.temperature import SMALLEST, fit_temperature, tempered
from whisper_er.task import Task

LABELS = ("angry", "happy", "neutral", "sad")


def overconfident(n: int, sharpening: float) -> tuple[np.ndarray, np.ndarray]:
    """float (N, 4) posteriors, honest ones to a power, and labels int (N,) drawn from the honest ones."""
    rng = np.random.default_rng(0)
    honest = rng.dirichlet(np.ones(4), size=n)
    labels = (honest.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    sharp = honest**sharpening
    return sharp / sharp.sum(axis=1, keepdims=True), labels


def test_a_temperature_of_two_takes_the_square_root():
    assert tempered([0.8, 0.2], 2.0) == pytest.approx([2 / 3, 1 / 3])
    assert tempered([[0.25, 0.75], [1.0, 0.0]], 1.0) == pytest.approx(np.array([[0.25, 0.75], [1.0, 0.0]]))


def test_a_model_that_is_always_nine_to_one_sure_and_three_in_four_times_right_has_two():
    posteriors = np.array([[0.9, 0.1]] * 4)  # 9 ** (1 / 2) to 1 is three in four
    assert fit_temperature(posteriors, np.array([0, 0, 0, 1])) == pytest.approx(2.0)


@pytest.mark.parametrize("sharpening", [2.5, 0.5])
def test_the_temperature_of_synthetic_posteriors_is_found_where_nll_is_least(sharpening):
    posteriors, labels = overconfident(5_000, sharpening)
    found = fit_temperature(posteriors, labels)
    assert found == pytest.approx(sharpening, rel=0.05)
    losses = [log_loss(labels, tempered(posteriors, found * factor), labels=range(4)) for factor in (0.99, 1, 1.01)]
    assert losses[1] == min(losses)


@pytest.mark.parametrize("second", [0, 1])
def test_without_an_error_or_by_chance_alone_there_is_none(second):
    assert fit_temperature(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, second])) is None


def test_ece_and_nll_fall_and_the_likeliest_labels_stay():
    posteriors, labels = overconfident(2_000, 3.0)
    said = tuple(LABELS[i] for i in posteriors.argmax(axis=1))
    by_label = tuple(dict(zip(LABELS, row)) for row in posteriors.tolist())
    values = TaskPairs(tuple(LABELS[i] for i in labels), said, posterior=by_label)
    fit = temperature.fit(Task("emotion", "category", LABELS), values)
    assert fit.num_utterances == 2_000 and fit.temperature == pytest.approx(3.0, rel=0.1)
    assert fit.ece[0] > 0.2 > 0.05 > fit.ece[1] and fit.nll[1] < fit.nll[0]
    assert (tempered(posteriors, fit.temperature).argmax(axis=1) == posteriors.argmax(axis=1)).all()


def test_a_posterior_that_was_rounded_to_nothing_has_a_finite_temperature():
    found = fit_temperature(np.array([[1.0, 0.0]] * 4), np.array([0, 0, 0, 1]))
    assert found == pytest.approx(-np.log(SMALLEST) / np.log(3)) and tempered([1.0, 0.0], found)[1] > 0
