"""A model that gives every utterance the same label is named as one."""

import html
import re

import pytest
from small_results import TWO_FOLDS, pairs_of, read_two_folds, write_fold, write_two_folds
from tiny_experiment import call, train_arguments
from tiny_whisper import ASR, EMOTION

from whisper_er.bin import compare, results, train
from whisper_er.report.markdown import seed_caveats
from whisper_er.report.rows import caveats
from whisper_er.score.metrics import collapse
from whisper_er.train.validation import Validation, add_scores

COLLAPSED = [(reference, "sad", sure) for reference, _, sure in TWO_FOLDS["2"]]
WARNING = "Warning: fold 2: every answer to emotion is 'sad', though the references have several labels."


@pytest.mark.parametrize("confusion, sentence", [
    ([[0, 3], [0, 2]], "every answer to mood is 'b'"), ([[3, 0], [2, 0]], "every answer to mood is 'a'"),
    ([[3, 0], [1, 1]], ""), ([[0, 3], [0, 0]], ""), ([[3, 0], [0, 0]], ""), ([[0, 0], [0, 0]], ""),
])  # fmt: skip
def test_one_label_for_references_of_several_is_a_collapse(confusion, sentence):
    assert collapse("mood", confusion, ("a", "b")) == sentence


def test_a_validation_looks_at_the_utterances_that_have_a_label():
    collapsed, fine = Validation(1.0, {}), Validation(1.0, {})
    add_scores(collapsed, EMOTION, [("sad", "sad"), ("happy", "sad"), ("angry", "sad")], ["en"])
    add_scores(fine, EMOTION, [("sad", "sad"), ("happy", "sad"), ("angry", "angry")], ["en"])
    assert (collapsed.collapses, fine.collapses) == (["every answer to emotion is 'sad'"], [])
    assert (collapsed.ua["emotion"], fine.ua["emotion"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize("language, accuracy", [("zh", 0.75), ("ja", 0.75), ("en", 0.0)])
def test_the_words_of_a_language_without_spaces_are_its_characters_in_validation(language, accuracy):
    result = Validation(1.0, {})
    add_scores(result, ASR, [("今天天气", "今天天汽")], [language])
    assert result.accuracy["asr"] == accuracy


def test_training_says_it_in_its_log(corpus, tmp_path, capsys):
    call(train, *train_arguments(corpus, tmp_path / "exp", "max_steps=2", "valid_interval=2", "optim.lr=1e-9"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert re.search(r" warning: validation at step 2: every answer to emotion is '(sad|happy)'$", "\n".join(lines))


@pytest.fixture
def exp(tmp_path):
    """Two folds, of which the second has collapsed."""
    exp = write_two_folds(tmp_path)
    write_fold(exp, "2", pairs_of(COLLAPSED, "b"), None)
    return exp


def test_the_reports_name_the_folds_that_have_collapsed(exp, tmp_path):
    sides = ["--exp_dir", exp, "--folds", "1 2", "--test_sets", "test"]
    call(results, *sides)
    for name in ("RESULTS.md", "report.html"):
        text = html.unescape((exp / name).read_text(encoding="utf-8"))
        assert text.count("every answer to") == 1 and WARNING in text, name
    other = write_two_folds(tmp_path / "other")
    call(results, *sides, "--exp_dir", other)
    assert "every answer" not in (other / "RESULTS.md").read_text(encoding="utf-8")
    assert "every answer" not in (other / "report.html").read_text(encoding="utf-8")
    call(compare, "--first", other, "--second", exp, "--folds", "1 2", "--out_dir", tmp_path / "out")
    assert f"ser: {WARNING}" in (tmp_path / "out/COMPARISON.md").read_text(encoding="utf-8").replace(str(exp), "ser")


def test_folds_that_agree_share_a_line_and_seeds_are_named(exp):
    write_fold(exp, "1", pairs_of(COLLAPSED, "a"), None)
    result = read_two_folds(exp)
    assert caveats(result) == [WARNING.replace("fold 2", "fold 1, 2")]
    assert seed_caveats({"7": result}) == [f"seed 7: {caveats(result)[0]}"]
