"""Names of which a reader sees one and a program sees two."""

import pytest

from whisper_er.base.errors import UserError
from whisper_er.base.spelling import check_spelling

ALIKE = "characters that look alike or do not show"


@pytest.mark.parametrize("other, how", [
    ("Happy", "case"), ("happy\u200b", "(nothing against U+200B)"), ("\ufeffhappy", "(nothing against U+FEFF)"),
    ("hap\u00adpy", "(nothing against U+00AD)"), ("happy\ufe0f", "(nothing against U+FE0F)"),
    ("\uff48appy", "(U+0068 against U+FF48)"),
])  # fmt: skip
def test_two_spellings_of_a_label_are_named_with_what_has_them_and_their_code_points(other, how):
    with pytest.raises(UserError) as error:
        check_spelling("utt2emotion", {"happy": "u1", "sad": "u2", other: "u3"})
    assert str(error.value).startswith("utt2emotion: '") and "u1" in str(error.value) and "u3" in str(error.value)
    assert how in str(error.value) and (ALIKE in str(error.value)) == (how != "case")


@pytest.mark.parametrize("one, other", [
    ("Anna B", "Anna\u00a0B"), ("Anna B", "Anna  B"), ("fr\u00f6hlich", "fro\u0308hlich"), ("\u200b", ""),
])  # fmt: skip
def test_white_space_and_the_form_of_an_accent_make_no_other_name(one, other):
    with pytest.raises(UserError, match=ALIKE):
        check_spelling("utt2spk", {one: "u1", other: "u2"})


def test_a_joiner_of_a_script_and_names_that_differ_to_the_eye_are_left_alone():
    names = ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "froh", "fr\u00f6h", "1", "1.0", "a b", "a_b", ""]
    names += ["Weiss", "Wei\u00df", "m2", "m\u00b2", "a1", "a\u2460", "1\u20442", "\u00bd"]
    check_spelling("utt2emotion", dict.fromkeys(names, "u1"))


def test_ids_may_differ_in_case_and_in_nothing_that_is_not_seen():
    check_spelling("wav.scp", {"dQw4w9WgXcQ": "a", "dqw4w9wgxcq": "b"}, case=False)
    with pytest.raises(UserError, match=ALIKE):
        check_spelling("wav.scp", {"a1": "a", "a\u200b1": "b"}, case=False)
