from collections.abc import Iterable


class UserError(ValueError):
    """The user's data, configuration or options are wrong.

    The message is one line: what is wrong, where, what is allowed, what to do. Entry points print it and exit 1;
    any other exception is a defect of ours and keeps its traceback.
    """


def first_few(names: Iterable[str], n: int = 5) -> str:
    """`a, b, c`, or `a, b, c, d, e and 2 more`: for messages."""
    names = list(names)
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
