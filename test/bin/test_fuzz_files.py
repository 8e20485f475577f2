"""Files of any content where the package reads them: what they hold, or one line that names the file. Nothing in them
is run."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_experiment import call, decode_arguments, train_and_average, write_corpus

from whisper_er.base.errors import LONGEST, UserError
from whisper_er.bin import average, decode, score
from whisper_er.bin import results as results_bin
from whisper_er.config import TrainConfig, load
from whisper_er.data.kaldi import read_table
from whisper_er.models.build import read_empty_model
from whisper_er.report.curves import read_curves
from whisper_er.report.experiment import write_report
from whisper_er.report.markdown import render
from whisper_er.score import hypotheses, results
from whisper_er.task import Task, category
from whisper_er.text.token_list import read_token_list
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train import experiment, training_state
from whisper_er.train.weights import load_weights

SOME = settings(max_examples=150, derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module")
def root(tmp_path_factory, no_git):
    """A corpus, a trained model in exp, hypotheses in exp/decode_x/test and their scores."""
    root = write_corpus(tmp_path_factory.mktemp("fuzz_files") / "corpus")
    exp = train_and_average(root, root / "exp", "max_steps=2")
    hyp = exp / "decode_x/test"
    call(decode, *decode_arguments(root, exp, hyp))
    call(score, "--ref_dir", root / "test", "--hyp_dir", hyp, "--tasks", "asr gender emotion", "--exp_dir", exp,
         "--out", hyp / "score/result.json")  # fmt: skip
    return root


def read_posteriors(path: Path) -> None:
    wanted = read_table(path.parent / "utt2emotion")
    tasks = read_token_list(path.parents[2] / "token_list").tasks
    hypotheses.read_posteriors(path.parent, path.parent / "utt2emotion", wanted, tasks)


def read_backbone(path: Path) -> None:
    config = load(TrainConfig, path.parent / "config.yaml")
    read_empty_model(config, path, load_tokenizer(path.parent / "token_list"))


def read_scores(path: Path) -> None:
    """As far as the tables of RESULTS.md and the page of report.html."""
    exp = path.parents[3]
    found = results.collect(exp, [], "test", "x")
    render(exp, ["command"], found)
    write_report(exp, ["command"], found, 0)


TEXT_READERS = {
    "config.yaml": lambda path: load(TrainConfig, path),
    "data.yaml": lambda path: experiment.protocol(path.parent, path.parents[1] / "test"),
    "environment.json": lambda path: experiment.read_environment(path.parent),
    "backbone_config.json": read_backbone,
    "checkpoints/best.json": lambda path: experiment.read_best(path.parents[1]),
    "token_list/token_list.yaml": lambda path: load_tokenizer(path.parent),
    "decode_x/test/decode.json": lambda path: hypotheses.read_protocol(path.parent),
    "decode_x/test/posteriors.jsonl": read_posteriors,
    "metrics.jsonl": read_curves,
    "decode_x/test/score/result.json": read_scores,
    "decode_x/test/score/utterances.jsonl": read_scores,
}  # fmt: skip
WEIGHT_READERS = {
    "ave.safetensors": load_weights,
    "state.safetensors": lambda path: (training_state.usable_state(path), training_state.read_state(path)),
    "token_list/bpe.model": lambda path: load_tokenizer(path.parent),
}
READERS = TEXT_READERS | WEIGHT_READERS


@pytest.fixture(scope="module")
def exp(root):
    """Of every file of the experiment that is spoilt there is a whole copy beside it."""
    for name in READERS:
        path = root / "exp" / name
        shutil.copyfile(path, f"{path}.whole")
    return root / "exp"


def offer(exp: Path, name: str, content: bytes) -> bool:
    """Whether the content is read; if not, one line has named the file. The whole file is put back."""
    path, whole = exp / name, (exp / f"{name}.whole").read_bytes()
    path.write_bytes(content)
    try:
        READERS[name](path)
    except UserError as error:
        assert path.name in str(error) or (path.name == "bpe.model" and "token_list" in str(error)), error
        assert str(error).isprintable() and len(str(error)) <= LONGEST
        return False
    finally:
        path.write_bytes(whole)
    return True


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.text(max_size=3),
    st.sampled_from([10**400, 10**18, -1, 1e308, "../../x", "\ud800", "\x00", "\n", "nan", "asr", "sad", "valid-00", "",
                     "scale", "text", "category", "whisper", "none", "1", "a/b", "$(touch marker)"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def mutate(draw, value):
    """One place of a plain value, whatever its depth, is replaced, removed, renamed or doubled."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 5)) == 0:
        return draw(values)
    where = draw(st.sampled_from(sorted(value))) if isinstance(value, dict) else draw(st.integers(0, len(value) - 1))
    what = draw(st.sampled_from(["deeper", "deeper", "deeper", "remove", "double"]))
    new = dict(value) if isinstance(value, dict) else list(value)
    if what == "deeper":
        new[where] = mutate(draw, value[where])
    elif what == "remove":
        del new[where]
    elif isinstance(new, dict):
        new[draw(st.text(max_size=3) | st.sampled_from(["../x", "\ud800"]))] = new[where]
    else:
        new.append(new[where])
    return new


@st.composite
def spoilt_text(draw, whole: str, name: str) -> bytes:
    if draw(st.integers(0, 3)) == 0:
        return draw(spoilt_bytes(whole.encode()))
    if name.endswith(".yaml"):
        return yaml.dump(mutate(draw, yaml.safe_load(whole)), allow_unicode=True).encode("utf-8", "surrogatepass")
    if name.endswith(".jsonl"):
        lines = mutate(draw, [json.loads(line) for line in whole.splitlines()])
        return "".join(json.dumps(line) + "\n" for line in (lines if isinstance(lines, list) else [lines])).encode()
    return json.dumps(mutate(draw, json.loads(whole))).encode()


@st.composite
def spoilt_bytes(draw, whole: bytes) -> bytes:
    """Some bytes are overwritten, more often near the beginning, inserted, or cut off."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, 40) | st.integers(0, 2000) | st.integers(0, len(whole)))
        new = draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"[" * 3000, b"{", b"NaN", b"\xff" * 8]))
        if draw(st.booleans()):
            content[where : where + len(new)] = new
        else:
            content[where : where + draw(st.integers(0, 9))] = new
    return bytes(content[: draw(st.sampled_from([None, None, None, 0, 7, 8, 9, 100, -1]))])


@pytest.mark.parametrize("name", TEXT_READERS)
def test_any_text_is_read_or_refused_in_one_line_that_names_the_file(exp, name):
    whole, outcomes = (exp / f"{name}.whole").read_text(), set()
    assert offer(exp, name, whole.encode())

    @SOME
    @given(spoilt_text(whole, name))
    def fuzz(content):
        outcomes.add(offer(exp, name, content))

    fuzz()
    assert False in outcomes


@pytest.mark.parametrize("name", WEIGHT_READERS)
def test_any_bytes_are_read_or_refused_in_one_line_that_names_the_file(exp, name):
    whole, outcomes = (exp / f"{name}.whole").read_bytes(), set()
    assert offer(exp, name, whole)

    @SOME
    @given(spoilt_bytes(whole))
    def fuzz(content):
        outcomes.add(offer(exp, name, content))

    fuzz()
    assert False in outcomes


@SOME
@given(st.lists(st.text(max_size=6) | st.sampled_from(["sad", "e\u0301", "\u05d0\u05d1", "$(id)", "<|x|>", "\x1b"]),
                max_size=4))  # fmt: skip
def test_labels_of_any_characters_come_back_as_they_were_or_are_refused(exp, labels):
    try:
        task = category("mood", labels)
    except UserError as error:
        assert str(error).isprintable()
        return
    directory = exp / "labels"
    directory.mkdir(exist_ok=True)
    whole = load_tokenizer(exp / "token_list")
    (directory / "bpe.model").write_bytes(whole.text.model)
    type(whole)(whole.text, [task], "bpe", "en").save(directory)
    assert load_tokenizer(directory).tasks == (task,)


class Trap:
    """What unpickles to a call that makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", ["pickle", "text pickle", "torch"])
def test_a_pickle_under_any_name_is_not_run(exp, tmp_path, protocol):
    marker = tmp_path / "marker"
    if protocol == "torch":
        torch.save({"model": Trap(marker)}, tmp_path / "trap")
    else:
        (tmp_path / "trap").write_bytes(pickle.dumps(Trap(marker), 0 if protocol == "text pickle" else None))
    for name in READERS:
        assert not offer(exp, name, (tmp_path / "trap").read_bytes()), name
    assert not marker.exists()
    if protocol != "torch":
        pickle.loads((tmp_path / "trap").read_bytes())
        assert marker.exists(), "the trap works"


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "a b", ".", "a\n"])
def test_a_task_s_name_is_no_path(name):
    with pytest.raises(UserError, match="its name may hold"):
        Task(name, "text")


@pytest.mark.parametrize("metric", ["../../../escaped", "/tmp/x", "a b", ""])
def test_what_averaging_writes_stays_in_the_experiment(exp, metric):
    path = exp / "checkpoints/best.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"metric": metric}))
    try:
        with pytest.raises(UserError, match="is no name"):
            call(average, "--exp_dir", exp)
    finally:
        path.write_text(whole)


def test_a_configuration_of_a_model_may_not_be_endless(exp):
    values = json.loads((exp / "backbone_config.json").read_text())
    for wrong in ({"encoder_layers": 10**9}, {"num_mel_bins": 10**6}, {"d_model": 10**12}, {"vocab_size": "9"},
                  {"model_type": "bert"}, {"model_type": ["whisper"]}, {"encoder_attention_heads": 0}):  # fmt: skip
        assert not offer(exp, "backbone_config.json", json.dumps(values | wrong).encode()), wrong
    code = {"auto_map": {"AutoModel": "evil--x.Y"}, "attn_implementation": "evil/kernel", "quantization_config": {}}
    assert offer(exp, "backbone_config.json", json.dumps(values | code).encode())


def test_the_tables_are_made_from_what_is_whole(exp):
    call(results_bin, "--exp_dir", exp, "--test_sets", "test")
    assert (exp / "RESULTS.md").is_file()
