from collections.abc import Iterable

LONGEST = 2000  # characters of a message


class UserError(ValueError):
    """The user's data, configuration or options are wrong.

    The message is one line: what is wrong, where, what is allowed, what to do. Entry points print it and exit 1;
    any other exception is a defect of ours and keeps its traceback. What a name or a value brings into it, a line break
    or a sequence that a terminal obeys, is shown as \\n or \\x1b, and what is endless is cut in the middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 + 5 :]}"


def first_few(names: Iterable[str], n: int = 5) -> str:
    """`a, b, c`, or `a, b, c, d, e and 2 more`: for messages."""
    names = list(names)
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
