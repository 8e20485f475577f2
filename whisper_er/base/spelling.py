"""Names that look alike and are two for a program: 'Happy' and 'happy', one accent in two forms, a zero-width space."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from os.path import commonprefix

from whisper_er.base.errors import UserError

# Beside the characters of the category "format": joiners, fillers and variation selectors that show nothing.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def check_spelling(where: str, names: Mapping[str, str], case: bool = True) -> None:
    """UserError for two names that differ in nothing that a reader sees: two classes, or two speakers of whom one may
    be tested, where one is meant. A character that does not print is allowed where its name has no such twin.

    names: name -> what has it, for the message; case: whether those that differ in case are twins too.
    """
    fold = fold_case if case else fold_form
    if len({fold(name) for name in names}) == len(names):
        return
    for other, name in twins(names, fold):
        raise UserError(
            f"{where}: '{other}' and '{name}' {difference(other, name)}; write them alike; "
            f"they are in {names[other]} and in {names[name]}"
        )


def twins(names: Iterable[str], fold: Callable[[str], str]) -> list[tuple[str, str]]:
    """Each of the names before which, in C order, one folds alike: that one, and the name."""
    first: dict[str, str] = {}
    return [(other, name) for name in sorted(names) if (other := first.setdefault(fold(name), name)) != name]


def fold_case(name: str) -> str:
    """The form in lower case; not casefold(), for which Weiß is Weiss."""
    return fold_form(name).lower()


def fold_form(name: str) -> str:
    """The name in one form of accents and widths, with single spaces for any white space, without what is invisible."""
    if not name.isprintable():
        name = "".join(char for char in name if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf"))
    if not name.isascii():  # not NFKC, for which m² is m2
        name = unicodedata.normalize("NFC", "".join(map(fold_width, INVISIBLE.sub("", name))))
    return " ".join(name.split())


def fold_width(char: str) -> str:
    """The usual form of a full-width or half-width character."""
    kind = unicodedata.decomposition(char).partition(" ")[0]
    return unicodedata.normalize("NFKC", char) if kind in ("<wide>", "<narrow>") else char


def difference(one: str, other: str) -> str:
    """How two names that fold alike differ, for a message: what is not seen is shown by its code points."""
    if one.lower() == other.lower():
        return "differ in nothing but case"
    start = len(commonprefix([one, other]))
    end = len(commonprefix([one[start:][::-1], other[start:][::-1]]))
    parts = (" ".join(f"U+{ord(char):04X}" for char in name[start : len(name) - end]) for name in (one, other))
    kind = "differ in nothing but characters that look alike or do not show"
    return f"{kind} ({' against '.join(part or 'nothing' for part in parts)})"
