from collections.abc import Iterable

LONGEST = 2000  # characters of a message


class UserError(ValueError):
    """The user's data, configuration or options are wrong.

    The message is one line: what is wrong, where, what is allowed, what to do. Entry points print it and exit 1;
    any other exception is a defect of ours and keeps its traceback. A message quotes ids, paths and labels, which hold
    whatever their author wrote: what does not print (a line break, an escape sequence) is shown as `repr` shows it,
    and of a very long message the middle is left out.
    """

    def __init__(self, message: str) -> None:
        message = printable(message)
        if len(message) > LONGEST:
            half = (LONGEST - len(" ... ")) // 2
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(message)


def printable(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def first_few(names: Iterable[str], n: int = 5, separator: str = ", ") -> str:
    """`a, b, c`, or `a, b, c, d, e and 2 more`: for messages."""
    names = list(names)
    return separator.join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
