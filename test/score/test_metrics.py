import math
import time

import jiwer
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, recall_score

from whisper_er.score.metrics import (
    confusion_rows,
    count_distances,
    count_word_errors,
    macro_f1,
    score_categories,
    score_scale,
    unweighted_accuracy,
    weighted_accuracy,
    word_error_rate,
    word_error_rows,
)

LABELS = ("angry", "happy", "neutral", "sad")


def random_pairs(n: int, seed: int, labels=LABELS) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    ref = rng.choice(labels, size=n, p=np.arange(1, len(labels) + 1) / sum(range(len(labels) + 1)))
    hyp = np.where(rng.random(n) < 0.6, ref, rng.choice(labels, size=n))
    return ref.tolist(), hyp.tolist()


def test_wa_ua_f1_recall_and_confusion_by_hand():
    score = score_categories(list("aaabbc"), list("aabbbb"), list("abcd"))
    assert score.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert score.wa == pytest.approx(4 / 6)
    assert score.recall[:3] == pytest.approx([2 / 3, 1, 0]) and math.isnan(score.recall[3])
    assert score.ua == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert score.macro_f1 == pytest.approx((4 / 5 + 4 / 6 + 0) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_category_figures_are_those_of_scikit_learn(seed):
    ref, hyp = random_pairs(200, seed)
    score = score_categories(ref, hyp, LABELS)
    assert score.wa == pytest.approx(accuracy_score(ref, hyp))
    assert score.ua == pytest.approx(balanced_accuracy_score(ref, hyp))
    assert score.macro_f1 == pytest.approx(f1_score(ref, hyp, average="macro"))
    assert score.recall == pytest.approx(recall_score(ref, hyp, labels=list(LABELS), average=None))
    assert (score.confusion == confusion_matrix(ref, hyp, labels=list(LABELS))).all()


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_class_that_is_only_answered_counts_in_f1_but_not_in_ua():
    ref, hyp = ["angry", "angry", "happy"], ["angry", "sad", "happy"]
    score = score_categories(ref, hyp, LABELS)
    assert score.ua == pytest.approx(balanced_accuracy_score(ref, hyp)) == 0.75
    assert score.macro_f1 == pytest.approx(f1_score(ref, hyp, average="macro")) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_no_utterance_gives_undefined_figures():
    score = score_categories([], [], LABELS)
    assert all(map(math.isnan, (score.wa, score.ua, score.macro_f1)))


@pytest.mark.parametrize("figure, of_scikit_learn", [
    (weighted_accuracy, accuracy_score),
    (unweighted_accuracy, balanced_accuracy_score),
    (macro_f1, lambda ref, hyp: f1_score(ref, hyp, average="macro")),
])  # fmt: skip
def test_figures_of_many_confusion_matrices_are_those_of_each(figure, of_scikit_learn):
    pairs = [random_pairs(60 + seed, seed) for seed in range(6)]
    confusion = np.array([confusion_matrix(*pair, labels=list(LABELS)) for pair in pairs]).reshape(2, 3, 4, 4)
    assert figure(confusion).shape == (2, 3)
    assert figure(confusion).ravel() == pytest.approx([of_scikit_learn(*pair) for pair in pairs])


def test_an_undefined_figure_leaves_the_others_of_the_stack_alone():
    confusion = np.stack([np.zeros((2, 2), dtype=np.int64), np.array([[1, 1], [0, 0]])])
    for figure, expected in ((weighted_accuracy, 1 / 2), (unweighted_accuracy, 1 / 2), (macro_f1, 1 / 3)):
        assert figure(confusion) == pytest.approx([math.nan, expected], nan_ok=True)


def test_confusion_rows_are_one_cell_each_and_add_up_to_the_matrix():
    ref, hyp = random_pairs(80, 7)
    rows = confusion_rows(ref, hyp, LABELS)
    assert rows.dtype == np.int64 and rows.shape == (80, 16)
    for row, ref_label, hyp_label in zip(rows.reshape(-1, 4, 4), ref, hyp):
        assert np.argwhere(row).tolist() == [[LABELS.index(ref_label), LABELS.index(hyp_label)]]
    assert (rows.sum(axis=0).reshape(4, 4) == confusion_matrix(ref, hyp, labels=list(LABELS))).all()
    assert confusion_rows([], [], LABELS).shape == (0, 16)
    with pytest.raises(KeyError):
        confusion_rows(["angry"], ["bored"], LABELS)


def test_word_errors_by_hand():
    errors = count_word_errors(["a b c", "", "d"], ["a x c y", "p q", ""])
    assert (errors.hits, errors.substitutions, errors.deletions, errors.insertions) == (2, 1, 1, 3)
    assert (errors.empty_references, errors.insertions_on_empty, errors.reference_words) == (1, 2, 4)
    assert errors.wer == 5 / 4


def test_word_error_rate_is_that_of_jiwer():
    rng = np.random.default_rng(0)
    ref = [" ".join(rng.choice(list("abcde"), size=rng.integers(1, 9))) for _ in range(50)]
    hyp = [" ".join(rng.choice(list("abcde"), size=rng.integers(0, 9))) for _ in range(50)]
    assert count_word_errors(ref, hyp).wer == pytest.approx(jiwer.wer(ref, hyp))


def random_sentences(n: int, seed: int, vocabulary: int) -> tuple[list[str], list[str]]:
    """Up to 30 words, some references and hypotheses empty."""
    rng = np.random.default_rng(seed)
    ref = [[f"w{i}" for i in rng.integers(vocabulary, size=max(0, rng.integers(-2, 31)))] for _ in range(n)]
    hyp = [[word for word in words if rng.random() < 0.8] + ["w0"] * rng.integers(3) for words in ref]
    return [" ".join(words) for words in ref], [" ".join(words) for words in hyp]


def test_word_error_rows_are_those_of_each_utterance_alone():
    ref, hyp = random_sentences(200, 0, vocabulary=12)
    alone = [count_word_errors([r], [h]) for r, h in zip(ref, hyp)]
    expected = [[one.substitutions + one.deletions + one.insertions, one.reference_words] for one in alone]
    assert "" in ref and word_error_rows(ref, hyp).tolist() == expected
    assert word_error_rows(["", "a b"], ["x y z", ""]).tolist() == [[3, 0], [2, 2]]
    assert word_error_rows([], []).shape == (0, 2)


def test_word_error_rows_of_a_corpus_are_quick_and_add_up():
    ref, hyp = random_sentences(5531, 1, vocabulary=3000)
    total = count_word_errors(ref, hyp)
    assert count_distances(map(str.split, ref), map(str.split, hyp)).tolist() == word_error_rows(ref, hyp).tolist()
    start = time.perf_counter()
    rows = word_error_rows(ref, hyp)
    assert time.perf_counter() - start < 3
    errors = total.substitutions + total.deletions + total.insertions
    assert rows.sum(axis=0).tolist() == [errors, total.reference_words]
    assert word_error_rate(rows.sum(axis=0)) == total.wer == pytest.approx(jiwer.wer(ref, hyp))


def test_word_error_rate_takes_leading_axes():
    assert word_error_rate(np.array([[[1, 4], [3, 0]], [[0, 5], [6, 3]]])) == pytest.approx(
        np.array([[0.25, math.nan], [0, 2]]), nan_ok=True
    )


@pytest.mark.parametrize("reference", [[], ["", ""]])
def test_word_error_rate_without_a_reference_word_is_undefined(reference):
    errors = count_word_errors(reference, ["x"] * len(reference))
    assert math.isnan(errors.wer) and errors.insertions == errors.insertions_on_empty == len(reference)


def test_ccc_and_mae_by_hand():
    score = score_scale([1, 2, 3], [2, 2, 5])
    # means 2, 3; covariance 1; variances 2/3, 2
    assert score.ccc == pytest.approx(2 * 1 / (2 / 3 + 2 + 1)) and score.mae == pytest.approx((1 + 0 + 2) / 3)


def test_ccc_is_pearsons_coefficient_where_mean_and_variance_agree():
    ref = np.random.default_rng(1).normal(3, 1, 60)
    hyp = np.random.default_rng(2).permutation(ref)
    assert score_scale(ref, hyp).ccc == pytest.approx(np.corrcoef(ref, hyp)[0, 1])
    assert score_scale(ref, ref).ccc == pytest.approx(1) and score_scale(ref, 2 * ref.mean() - ref).ccc < -0.99


def test_ccc_of_constants():
    assert math.isnan(score_scale([0.1] * 3, [0.1] * 3).ccc) and score_scale([0.1] * 3, [0.3] * 3).ccc == 0
    assert math.isnan(score_scale([], []).ccc) and math.isnan(score_scale([], []).mae)
