import math
from itertools import product

import pytest
from scipy.stats import binomtest

from whisper_er.score.comparison import exact_mcnemar


def decisions(only_first: int, only_second: int) -> tuple[list[bool], list[bool]]:
    """Of two systems; they agree on two more utterances, which must not matter."""
    first = [True] * only_first + [False] * only_second + [True, False]
    second = [False] * only_first + [True] * only_second + [True, False]
    return first, second


@pytest.mark.parametrize("only_first, only_second", [(0, 0), (0, 1), (1, 1), (5, 1), (3, 8), (0, 6), (6, 6)])
def test_mcnemar_is_the_count_of_all_splits_at_least_as_uneven(only_first, only_second):
    n = only_first + only_second
    uneven = abs(only_first - only_second)
    splits = [abs(2 * sum(coins) - n) >= uneven for coins in product((0, 1), repeat=n)]
    test = exact_mcnemar(*decisions(only_first, only_second))
    assert (test.only_first, test.only_second) == (only_first, only_second)
    assert test.p_value == pytest.approx(sum(splits) / len(splits))


@pytest.mark.parametrize("only_first, only_second", [(1, 0), (7, 7), (12, 30), (151, 120), (400, 550)])
def test_mcnemar_is_the_binomial_test_of_scipy(only_first, only_second):
    expected = binomtest(only_first, only_first + only_second, 0.5).pvalue
    assert exact_mcnemar(*decisions(only_first, only_second)).p_value == pytest.approx(expected)


def test_mcnemar_of_thousands_of_differences_is_a_number():
    test = exact_mcnemar(*decisions(2600, 2400))
    assert test.p_value == pytest.approx(math.erfc((200 - 1) / math.sqrt(5000) / math.sqrt(2)), rel=0.01)  # normal
