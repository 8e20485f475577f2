"""Configurations of any content: accepted as they are, or refused in one line. Nothing else comes out."""

import dataclasses
import importlib
import math
import time
import tracemalloc
import types
import typing

import pytest
import yaml
from entry_point import error_of
from hostile import cases, checked
from hypothesis import given
from hypothesis import strategies as st
from tiny_experiment import TRAIN

from whisper_er.base import settings
from whisper_er.base.errors import UserError
from whisper_er.base.settings import build, load, to_plain
from whisper_er.config import DecodeConfig, TrainConfig

KINDS = (TrainConfig, DecodeConfig)
OFTEN = cases(800)


def sections(cls: type) -> dict[str, type]:
    return {name: kind for name, kind in typing.get_type_hints(cls).items() if dataclasses.is_dataclass(kind)}


def keys_of(cls: type, above: str = "") -> dict[str, object]:
    """Dotted key -> type, of every value at every depth."""
    found = {}
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            found |= keys_of(kind, f"{above}{name}.")
        else:
            found[above + name] = kind
    return found


KEYS = {cls: keys_of(cls) for cls in KINDS}
NUMBERS = [(cls, key) for cls in KINDS for key, kind in KEYS[cls].items() if kind in (int, float)]

NASTY_TEXT = [
    "", " ", "~", "null", "yes", "0x_", "1:99:99", "2024-13-45", "2001-01-01", "1e400", "-1e400", ".inf", "nan",
    "-.INF", "0b", "0o9", "${HOME}", "$(touch x)", "\x1b[31m", "\x00", "\ud800", "\u202e", "e\u0301", "a\nb",
    "9" * 5000, "0x" + "f" * 5000, "%s", "../..", "&a", "*a", "!!python/name:os.system", "<<", "=", "?", "|",
]  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(), st.sampled_from(NASTY_TEXT),
    st.text(max_size=8), st.binary(max_size=4), st.dates(),
    st.sampled_from([10**400, -(10**400), 2**63, 10**9, 10**9 + 1]),
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=6
)


def plausible(kind: object) -> st.SearchStrategy:
    """Values of a key's own type, most of them allowed; now and then anything else."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        own = st.sampled_from(args)
    elif origin is types.UnionType:
        own = st.one_of(*map(plausible, args))
    elif origin is list:
        own = st.lists(st.floats(0, 0.99), min_size=2, max_size=2)
    elif origin is dict:
        own = st.dictionaries(st.text(max_size=4), st.integers(0, 9) | st.floats() | scalars, max_size=2)
    else:
        own = {int: st.integers(0, 50), float: st.floats(0, 1), bool: st.booleans(), str: st.text(max_size=6)}[kind]
    return st.one_of(own, own, own, scalars, anything)


def names(setting: dataclasses.Field) -> st.SearchStrategy:
    """Names of parts, most of which there are; with options, where the setting has such."""
    module, _, registry = setting.metadata["registry"].rpartition(".")
    known = st.sampled_from(list(getattr(importlib.import_module(f"whisper_er.{module}"), registry)))
    if setting.default is dataclasses.MISSING:
        known = st.dictionaries(known, st.just({}) | st.just({"files": "a"}) | anything, max_size=1)
    return st.one_of(known, known, known, scalars, anything)


def mapping_of(cls: type) -> st.SearchStrategy:
    hints = typing.get_type_hints(cls)
    inner = {name: mapping_of(kind) if name in sections(cls) else plausible(kind) for name, kind in hints.items()}
    inner |= {setting.name: names(setting) for setting in dataclasses.fields(cls) if "registry" in setting.metadata}
    known = st.lists(st.sampled_from(sorted(inner)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: inner[name] for name in names}))  # fmt: skip
    return st.one_of(known, known, known, known, st.dictionaries(scalars, anything, max_size=2), anything)


documents = {cls: mapping_of(cls) for cls in KINDS}


def outcome(make: typing.Callable[[], object]) -> object | None:
    """What was made, having survived being written and read; None for a refusal, which is one line."""
    try:
        config = make()
    except UserError as error:
        checked(error)
        return None
    for key in KEYS[type(config)]:
        value = config
        for name in key.split("."):
            value = getattr(value, name)
        assert type(value) is not float or math.isfinite(value)
    assert build(type(config), to_plain(config), "again") == config
    assert build(type(config), settings.parse_yaml(yaml.safe_dump(to_plain(config))), "read") == config
    return config


def to_yaml(value: object) -> str:
    """YAML of any value, also of those for which our own dumper has no plain form."""
    return yaml.dump(value, allow_unicode=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "config.yaml"


@OFTEN
@given(cls=st.sampled_from(KINDS), content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_configuration_or_one_line(path, cls, content):
    path.write_bytes(content)
    outcome(lambda: load(cls, path))


YAML_WORDS = [*NASTY_TEXT, "\n", "\n", "\n  ", ": ", ": ", "- ", "[", "]", "{", "}", ",", "#", "---", "...", "!!set",
              "!!int", "!!float", "!!bool", "!!timestamp", "!!omap", "!!binary",
              "!!python/object/apply:os.system ['touch x']", "&a ", "*a", "<<: ", "'", '"', ">", "%YAML 1.1\n", "\t",
              *KEYS[TrainConfig], *sections(TrainConfig)]  # fmt: skip


@OFTEN
@given(cls=st.sampled_from(KINDS), words=st.lists(st.sampled_from(YAML_WORDS), max_size=16))
def test_any_words_of_yaml_are_a_configuration_or_one_line(path, cls, words):
    path.write_bytes("".join(words).encode("utf-8", "surrogatepass"))
    outcome(lambda: load(cls, path))


@cases(1500)
@given(st.data())
def test_any_values_at_any_depth_are_a_configuration_or_one_line(path, data):
    cls = data.draw(st.sampled_from(KINDS))
    values = data.draw(documents[cls])
    outcome(lambda: build(cls, values, "values"))
    path.write_bytes(to_yaml(values).encode("utf-8", "surrogatepass"))
    outcome(lambda: load(cls, path))


@OFTEN
@given(st.data())
def test_any_overrides_give_a_configuration_or_one_line(path, data):
    cls = data.draw(st.sampled_from(KINDS))
    key = st.sampled_from(sorted(KEYS[cls])) | st.text(max_size=8) | st.just("optim.lr_factors" + ".a" * 3000)
    value = st.one_of(st.sampled_from(NASTY_TEXT), st.text(max_size=8), scalars.map(str_or_name), st.just("[" * 200))
    overrides = data.draw(st.lists(st.builds("{}={}".format, key, value) | st.text(max_size=8), max_size=3))
    path.write_text("")
    outcome(lambda: load(cls, path, overrides))


def str_or_name(value: object) -> str:
    return "0x" + "f" * 400 if type(value) is int and abs(value) > 2**64 else str(value)


def test_the_fuzzing_reaches_both_outcomes():
    outcomes = []

    @cases(300)
    @given(documents[TrainConfig])
    def count(values):
        outcomes.append(outcome(lambda: build(TrainConfig, values, "values")))

    count()
    changed = [config for config in outcomes if config not in (None, TrainConfig())]
    assert len(changed) > 20 and outcomes.count(None) > 30


@pytest.mark.parametrize("cls, key", NUMBERS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("value", [".nan", "nan", ".inf", "-.inf", "1e400", "-1e12", "9" * 400, "0x" + "f" * 4000, "x"])
def test_no_number_is_infinite_none_negative_without_bound_or_text(path, cls, key, value):
    path.write_text("")
    with pytest.raises(UserError) as caught:
        load(cls, path, [f"{key}={value}"])
    assert key.split(".")[-1] in str(caught.value)


@pytest.mark.parametrize("cls, key", [item for item in NUMBERS if item[1] not in ("optim.lr",)],
                         ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_every_number_has_a_largest_value(path, cls, key):
    path.write_text("")
    with pytest.raises(UserError, match=key.split(".")[-1] + ".* allowed: "):
        load(cls, path, [f"{key}=2000000000"])


@pytest.mark.parametrize("override, allowed", [
    ("optim.betas=[0.9, 1]", "below 1"), ("optim.betas=[-0.1, 0.9]", "below 1"),
    ("optim.weight_decay=-1", "0 and more"), ("optim.plateau_patience=-1", "0 and more"),
    ("optim.lr_factors={heads: -1}", "0 to"), ("optim.lr_factors={heads: nan}", "finite numbers"),
    ("optim.grad_clip=-1", "0 and more"), ("optim.warmup_steps=-1", "0 and more"),
    ("model.specaug.time_width=1.1", "0 to 1"), ("valid_task=\"a\\nb\"", "printable"),
    ("model.whisper_sizes={encoder_layers: 1000000000}", "at most 10+"),
    ("model.whisper_sizes={d_model: 1000000000}", "at most 10+"), ("optim.lr=1e30", "at most 10+"),
    ("model.train_pad={none: 0.8, 30s: 0.3}", "a sum of 1.1 .* sum to 1"), ("model.train_pad.none=0.5", "sum to 1"),
    ("model.train_pad={none: 1.5, 30s: -0.5}", "train_pad.30s: -0.5 .* above 0"),
    ("model.train_pad={none: 1, 30s: 0}", "train_pad.30s: 0.0 .* above 0"),
    ("model.train_pad=30s", "expected dict"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_what_is_allowed(path, override, allowed):
    path.write_text("")
    with pytest.raises(UserError, match=allowed):
        load(TrainConfig, path, [override])


MORE_KEYS = yaml.safe_dump(TRAIN) + "learning_rate: 1\nvalid_intervall: 3\n"
REFUSED = [
    ("train", {}, ["max_step=3"], ["train.yaml", "'max_step'", "max_steps"]),
    ("train", {}, ["max_steps"], ["'max_steps'", "key=value"]),
    ("train", {}, ["max_steps=-1"], ["max_steps", "0 and more"]),
    ("train", {}, ["batch_size=0"], ["batch_size", "1 and more"]),
    ("train", {}, ["valid_task=valence"], ["valid_task", "'valence'", "asr gender emotion"]),
    ("train", {}, ["model.kind=encoder_classifier"], ["encoder_classifier", "'asr'"]),
    ("train", {}, ["model.whisper_sizes.d_modell=3"], ["whisper_sizes", "'d_modell'"]),
    ("train", {}, ["model.whisper_sizes={}"], ["whisper_model", "whisper_sizes"]),
    ("train", {}, ["model.pad=to 31"], ["pad", "'to 31'", "+<seconds>"]),
    ("train", {}, ["model.train_pad={none: 0.5, 3s: 0.5}"], ["train_pad", "'3s'", "+<seconds>"]),
    ("train", {}, ["model.kind=transducer"], ["kind", "'transducer'", "seq2seq encoder_classifier"]),
    ("train", {}, ["optim.lr_factors={head_: 10}"], ["lr_factors", "'head_'"]),
    ("train", {"train.yaml": MORE_KEYS}, [], ["unknown key 'learning_rate'"]),
    ("decode", {"decode.yaml": "beam: 4\n"}, [], ["decode.yaml: unknown key 'beam'; did you mean 'beam_size'?"]),
    ("decode", {}, ["beam_sizes=3"], ["unknown key 'beam_sizes'; did you mean 'beam_size'?"]),
    ("decode", {}, ["beam_size=0"], ["beam_size: 0"]),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: " ".join(case[2]) or case[3][0])
def test_a_stage_explains_its_configuration_before_it_has_made_anything(refused, case):
    refused(case)


def test_a_configuration_is_refused_in_one_line_on_the_terminal(path):
    path.write_text("max_step: 3\n")
    assert f"{path}: unknown key 'max_step'; did you mean 'max_steps'?" in error_of(
        "check_config", "--kind", "train", "--config", path
    )


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize("text, message", [
    (LAUGHS, "the alias"), (MERGES, "the alias"), ("optim: &o {lr_factors: *o}", "the alias"),
    ("max_steps: 1\nmax_steps: 2", "given twice"), ("optim: {lr: 1, lr: 2}", "given twice"),
    ("[" * 100_000, "nested too deeply"), ("a: " + "{a: " * 5000, "nested too deeply"), ("- " * 50_000, "nested"),
    ("a: !!python/object/apply:os.system ['x']", "could not determine a constructor"),
    ("x" * 10_000_001, "allowed are"),
    ("? [a, b]\n: 1", "unhashable"), ("max_steps: 0x" + "f" * 5000, "too large"), ("1: 2", "unknown key '1'"),
], ids=range(13))  # fmt: skip
def test_a_trap_costs_neither_time_nor_memory(path, text, message):
    path.write_text(text)
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        load(TrainConfig, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(caught.value) and str(caught.value).isprintable()
    assert time.monotonic() - start < 10 and peak < 60e6
