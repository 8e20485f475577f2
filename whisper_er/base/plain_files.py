"""Read JSON and YAML files that anyone may have written as plain values, checked against a shape: whatever is wrong
is one line that names the file.

A shape says what has to be there: a type, a value, or a tuple of what is allowed; [shape], a list of such;
{str: shape}, a table of such; {"key": shape}, a mapping with these keys and perhaps others. float also takes whole
numbers, and only finite ones; str takes no half of a surrogate pair, which cannot be written.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from whisper_er.base.errors import UserError

Shape = Any
HUGE = 1e300
SURROGATE = re.compile("[\ud800-\udfff]")
# PyYAML's resolvers and constructors raise more than its own error: for an impossible date, a tag on the wrong kind of
# value, a number of 5000 digits, brackets nested deeper than Python's stack.
BROKEN = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
DEEPEST = 50
LARGEST = 10_000_000  # characters of a YAML file: a hundred thousand speakers' names, a minute's reading


class PlainLoader(yaml.SafeLoader):
    """YAML's plain values only. Errors: aliases, since a few lines of them can mean gigabytes, and a key that is given
    twice, since one of the two would be ignored."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"the alias *{event.anchor} is not allowed; write its value out", problem_mark=event.start_mark
            )
        if self.depth == DEEPEST:  # long before Python's stack ends: the scanner takes quadratic time in the depth
            raise RecursionError
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        number = super().construct_yaml_int(node)
        if abs(number) > HUGE:  # Python refuses to print those above 10^4300
            raise yaml.MarkedYAMLError(problem="a number is too large", problem_mark=node.start_mark)
        return number


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text; ValueError of one line where it holds anything else."""
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} characters, allowed are {LARGEST}")
    try:
        return yaml.load(text, Loader=PlainLoader)
    except BROKEN as error:
        raise ValueError(reason(error)) from None


def parse_json(text: str) -> Any:
    """`json.loads`, with ValueError also for a nesting deeper than Python's stack."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(reason(error)) from None


def parse_json_lines(text: str) -> list:
    return [parse_json(line) for line in text.removesuffix("\n").split("\n")] if text else []


def read_plain(parse: Callable[[str], Any], path: Path, shape: Shape, what: str, remedy: str) -> Any:
    """Parse a file (`parse`: one of the three above) and check its shape; UserError for a file that is not `what`, with
    the remedy."""
    try:
        value = parse(Path(path).read_text(encoding="utf-8"))
        problem = misfit(value, shape)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {remedy}") from None
    except ValueError as error:
        problem = reason(error)
    if problem:
        raise UserError(f"{path}: not {what} ({problem}); {remedy}")
    return value


def misfit(value: Any, shape: Shape, where: str = "the content") -> str:
    """What is wrong with a value; "" if it has the shape."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is {shorten(value)}, expected a list"
        return first(misfit(item, shape[0], f"item {n} of {where}") for n, item in enumerate(value, start=1))
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where} is {shorten(value)}, expected a mapping"
        if str in shape:
            return first(
                misfit(key, str, f"a key of {where}") or misfit(item, shape[str], shorten(key))
                for key, item in value.items()
            )
        return first(
            misfit(value[key], inner, f"'{key}'") if key in value else f"{where} has no '{key}'"
            for key, inner in shape.items()
        )
    options = shape if isinstance(shape, tuple) else (shape,)
    if any(not misfit(value, option) if isinstance(option, list | dict) else is_a(value, option) for option in options):
        return ""
    names = (getattr(option, "__name__", None) or json.dumps(option, default=str) for option in options)
    return f"{where} is {shorten(value)}, expected {' or '.join(names)}"


def first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def is_a(value: Any, option: Any) -> bool:
    if not isinstance(option, type):
        return type(value) is type(option) and value == option
    if option is float:
        return type(value) in (int, float) and abs(value) <= HUGE
    return type(value) is option and not (option is str and SURROGATE.search(value))


def reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError | yaml.YAMLError) else f"{type(error).__name__} {text}".strip()


def shorten(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} of {type(value).__name__}s"
    return text if len(text) <= 60 else text[:57] + "..."
