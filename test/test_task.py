"""Tasks: labels, bins and what a user may write in utt2<name>."""

import numpy as np
import pytest
from tiny_whisper import ASR, EMOTION, GENDER

from whisper_er.base.errors import UserError
from whisper_er.task import category, check_classes, scale

VALENCE = scale("valence", 1, 5, 9)


def test_labels_are_the_distinct_values_in_order():
    task = category("emotion", ["sad", "happy", "", "sad", "angry"])
    assert task == EMOTION
    assert task.tokens == ("<|angry|>", "<|happy|>", "<|sad|>")


def test_tables_are_text_for_asr_and_utt2_and_the_name_otherwise():
    assert [task.table for task in (ASR, GENDER, VALENCE)] == ["text", "utt2gender", "utt2valence"]


@pytest.mark.parametrize("name", ["spk", "num_samples", "fold", "set2"])
def test_a_table_of_the_data_directory_that_is_no_label_is_no_task(name):
    for make in (lambda: category(name, ["a"]), lambda: scale(name, 1, 5, 9)):
        with pytest.raises(UserError, match=f"^task '{name}': utt2{name} is no table of labels; name the task other"):
            make()
    for allowed in ("speaker", "lang", "setting", "folder"):
        category(allowed, ["a"])


def test_a_label_outside_the_list_is_an_error_that_names_it_and_the_allowed_ones():
    assert EMOTION.index("sad") == 2
    with pytest.raises(UserError, match=r"^utt2emotion: 'bored' .*angry happy sad"):
        EMOTION.index("bored")


@pytest.mark.parametrize("label", ["very sad", "a|b", "<sad", "sad>"])
def test_a_label_that_cannot_be_a_token_is_an_error(label):
    with pytest.raises(UserError, match="utt2emotion"):
        category("emotion", ["happy", label])


def test_a_category_without_a_single_label_is_an_error():
    with pytest.raises(UserError, match="utt2emotion"):
        category("emotion", ["", ""])


def test_one_class_is_an_error_of_the_main_task_alone(capsys):
    one = [category(name, ["x", ""]) for name in ("gender", "emotion")]
    check_classes([ASR, one[0], EMOTION])
    assert capsys.readouterr().out == (
        "utt2gender: every label of the training set is 'x': gender will always be answered so\n"
    )
    for tasks in ([ASR, GENDER, one[1]], one[:1]):
        with pytest.raises(UserError, match="with one class there is nothing to learn"):
            check_classes(tasks)


def test_bins_run_from_low_to_high():
    assert VALENCE.labels == ("1", "1.5", "2", "2.5", "3", "3.5", "4", "4.5", "5")
    assert VALENCE.tokens[2] == "<|valence:2|>"


@pytest.mark.parametrize("value,expected", [("1", 0), ("5", 8), ("2.7", 3), ("2.8", 4), ("3.0000", 4)])
def test_a_number_goes_to_the_nearest_bin(value, expected):
    assert VALENCE.index(value) == expected


@pytest.mark.parametrize("value", ["0.9", "5.1", "nan", "inf", "high"])
def test_a_number_outside_the_scale_is_an_error(value):
    with pytest.raises(UserError, match=f"^utt2valence: .*{value}"):
        VALENCE.index(value)


@pytest.mark.parametrize("low,high,bins", [(1, 1, 5), (5, 1, 5), (1, 5, 1)])
def test_a_scale_needs_two_bins_and_low_below_high(low, high, bins):
    with pytest.raises(UserError, match="valence"):
        scale("valence", low, high, bins)


def test_the_value_of_a_scale_is_the_expectation_over_its_bins():
    posterior = np.zeros(9)
    posterior[[0, 2, 8]] = 0.5, 0.25, 0.25  # 1, 2 and 5
    assert VALENCE.value(posterior, index=0) == "2.2500"


def test_the_value_of_a_category_is_the_label_that_was_said():
    assert EMOTION.value(np.array([0.2, 0.2, 0.6]), index=1) == "happy"
