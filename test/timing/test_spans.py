"""Cells, the windows around them, and the stretches that their labels make."""

import pytest

from whisper_er.timing.spans import Span, every, merge, window_around


def test_cells_cover_an_utterance_and_the_last_takes_a_short_rest():
    assert every(1.0, 2.0, 5.4) == [(2, 3), (3, 4), (4, 5.4)]
    assert every(1.0, 2.0, 5.6) == [(2, 3), (3, 4), (4, 5), (5, 5.6)]
    assert every(1.0, 2.0, 2.3) == [(2, 2.3)]


def test_a_window_stands_around_its_cell_within_the_utterance():
    assert window_around((4, 5), 2.0, 1.0, 8.0) == (3.5, 5.5)
    assert window_around((1, 2), 2.0, 1.0, 8.0) == (1, 3)
    assert window_around((7, 8), 2.0, 1.0, 8.0) == (6, 8)
    assert window_around((2, 5), 2.0, 1.0, 8.0) == (2, 5)
    assert window_around((2, 3), 9.0, 1.0, 8.0) == (1, 8)


def test_neighbours_of_one_label_are_one_with_the_mean_probability_over_their_seconds():
    spans = [Span(0, 1, "sad", 0.5), Span(1, 4, "sad", 0.9), Span(4, 5, "happy", 1.0), Span(6, 7, "happy", 0.6)]
    sad, happy, later = merge(spans, gap=0.5)
    assert sad == Span(0, 4, "sad", pytest.approx(0.8))
    assert (happy, later) == (spans[2], spans[3])
    assert merge(spans, gap=1.5)[1] == Span(4, 7, "happy", pytest.approx(0.8))
