"""Settings: dataclasses <-> YAML and key=value. An unknown key is an error that names the nearest one.

A field whose value names a part (a pooling, a loss, a schedule ...) says which dict holds these parts:
`named("real", "models.pooling.POOLINGS")`. A part that is added to the dict can be named in the settings; an unknown
name is an error that lists the known ones.
"""

import dataclasses
import datetime
import difflib
import importlib
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from whisper_er.base.errors import UserError
from whisper_er.base.plain_files import parse_yaml, shorten

C = TypeVar("C")
MOST = 1_000_000_000  # largest number allowed: a seed times 1,000,003 stays below 2^63, and a bfloat16 holds it


def named(default: Any, registry: str) -> Any:
    """A field that names a part, or parts with their options. registry: dotted path of their dict, below whisper_er."""
    metadata = {"registry": registry}
    if isinstance(default, str):
        return field(default=default, metadata=metadata)
    return field(default_factory=lambda: type(default)(default), metadata=metadata)


def allow(valid: bool, name: str, value: Any, allowed: str) -> None:
    """UserError that says what is allowed, unless the value is valid."""
    if not valid:
        raise UserError(f"{name}: {value} is not allowed; allowed: {allowed}")


def at_least(least: int, config: Any, *names: str) -> None:
    for name in names:
        allow(getattr(config, name) >= least, name, getattr(config, name), f"{least} and more")
        allow(getattr(config, name) <= MOST, name, getattr(config, name), f"at most {MOST}")


def between(low: float, high: float, config: Any, *names: str) -> None:
    for name in names:
        allow(low <= getattr(config, name) <= high, name, getattr(config, name), f"{low} to {high}")


def load(cls: type[C], path: Path, overrides: list[str] = (), leave_out: Sequence[str] = ()) -> C:
    """Read a YAML file and apply `key=value` overrides, nested keys with dots (optim.lr=1e-4).

    leave_out: sections that are not looked at, and keep their defaults. A class with a method `updated` is asked for
    the values of a file that an older version may have written.
    """
    try:
        values = parse_yaml(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    check_mapping(values, str(path))
    values = getattr(cls, "updated", dict)({key: value for key, value in values.items() if key not in leave_out})
    override(values, overrides)
    return build(cls, values, f"{path} with {' '.join(overrides)}" if overrides else str(path))


def override(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put words `key=value`, nested keys with dots, into plain values."""
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"'{word}': expected key=value, for example optim.lr=1e-4")
        set_nested(values, key.split("."), parse_value(value, word))


def parse_value(value: str, override: str) -> Any:
    try:
        parsed = parse_yaml(value)
    except ValueError:
        raise UserError(f"'{override}': the value is not valid YAML; quote it") from None
    return value if type(parsed) is int and str(parsed) != value else parsed  # model.pad=+1 is no number


def set_nested(values: dict, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise UserError(f"{'.'.join(keys)}: '{key}' is a value, not a section")
    values[keys[-1]] = value


def build(cls: type[C], values: Any, where: str) -> C:
    """Make a configuration of type `cls` from plain values; `where` opens the error messages."""
    check_mapping(values, where)
    field_types = typing.get_type_hints(cls)
    for key in values:
        if key not in field_types:
            near = difflib.get_close_matches(str(key), field_types, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"allowed: {' '.join(field_types)}"
            raise UserError(f"{where}: unknown key '{key}'; {hint}")
    values = {key: convert(value, field_types[key], f"{where}: {key}") for key, value in values.items()}
    try:
        config = cls(**values)
    except UserError as error:  # of its bounds, which do not know where it stands
        raise UserError(f"{where}: {error}") from None
    for setting in dataclasses.fields(config):
        if "registry" in setting.metadata:
            check_names(getattr(config, setting.name), setting, f"{where}: {setting.name}")
    return config


def check_names(value: str | dict[str, dict], setting: dataclasses.Field, where: str) -> None:
    """UserError for a name that the field's registry does not have. Options become those of its entry, all of them.

    The default is not looked up: the registries stand in modules whose import takes seconds.
    """
    if value == (setting.default if setting.default is not dataclasses.MISSING else setting.default_factory()):
        return
    module, _, name = setting.metadata["registry"].rpartition(".")
    registry = getattr(importlib.import_module(f"whisper_er.{module}"), name)
    for chosen in [value] if isinstance(value, str) else value:
        if chosen not in registry:
            raise UserError(f"{where}: '{chosen}' is not allowed; allowed: {' '.join(registry)}")
    if isinstance(value, dict):
        for chosen, options in value.items():  # with their defaults, so that config.yaml says all of what ran
            value[chosen] = dataclasses.asdict(build(registry[chosen], options or {}, f"{where}.{chosen}"))


def check_mapping(values: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected 'key: value' lines, found {shorten(values)}")


def convert(value: Any, kind: Any, where: str) -> Any:
    """Check one value against its type; numbers may be written as 1e-4, which YAML reads as text."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)
    if kind is Any:  # an option of a part that checks it itself
        return value
    if origin is Literal:
        value = "off" if value is False and "off" in args else value  # as YAML reads off
        if value not in args:
            raise UserError(f"{where}: '{value}' is not allowed; allowed: {' '.join(args)}")
        return value
    if origin is list and isinstance(value, list):
        return [convert(item, args[0], where) for item in value]
    if origin is dict and isinstance(value or {}, dict):  # nothing behind the colon: an empty section
        value = value or {}
        return {convert(key, str, where): convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if origin is types.UnionType:
        for arg in args:
            if type(value) in (arg, typing.get_origin(arg)):
                return convert(value, arg, where)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            allow(math.isfinite(number), where, number, "finite numbers")
            return number
    elif kind is str and isinstance(value, (str, int, float, datetime.date)):
        allow(str(value).isprintable(), where, shorten(value), "printable characters")
        return str(value)
    elif origin is None and type(value) is kind:
        return value
    raise UserError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {shorten(value)}")


def to_plain(config: Any) -> dict[str, Any]:
    """The configuration as plain values, as YAML reads them back."""
    return yaml.safe_load(yaml.safe_dump(dataclasses.asdict(config)))
