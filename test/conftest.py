"""Fixtures that several files share."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

import browser as browsers
import pytest
import slurm_cluster
import warm_python as warm_pythons
from assets import write_whole_whisper
from refusals import Case, check_refusal
from stopped_runs import OVERRIDES, contents
from tiny_experiment import TASKS, call, decode_arguments, train_and_average, write_corpus
from tiny_whisper import SENTENCES, write_whisper

from whisper_er.bin import decode, score
from whisper_er.text.vocabulary import TextTokens, train_sentencepiece
from whisper_er.text.whisper_vocabulary import from_whisper

# Files run side by side (test/run.sh); the longest ones begin, so that none of them is left alone at the end.
LONG = ("test_slurm_recipe.py", "test_distributed.py", "test_slurm_launch.py", "test_survival.py",
        "test_iemocap_paper.py", "test_whole_whisper.py", "test_benchmarks.py", "test_template.py",
        "test_mini_recipe.py", "test_hostile_data_dir.py", "test_ser_options.py")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def whisper_directory(tmp_path_factory):
    """A tiny random Whisper as transformers saves it."""
    directory = tmp_path_factory.mktemp("whisper")
    write_whisper(directory)
    return directory


@pytest.fixture(scope="session")
def whole_whisper(tmp_path_factory) -> Iterator[Callable[[str], Path]]:
    """The directory of a whole pretrained Whisper by its name, whisper-base or whisper-tiny.en; made when first asked
    for, and removed in the end (145 and 76 MB)."""
    root, reasons = tmp_path_factory.mktemp("whole"), {}
    lock = tmp_path_factory.getbasetemp().parent / "whole_whisper.lock"  # in the directory of all workers

    def get(kind: str) -> Path:
        if kind not in reasons:
            reasons[kind] = write_whole_whisper(kind, root / kind, lock)
        if reasons[kind]:
            pytest.skip(f"no {kind}: {reasons[kind]}")
        return root / kind

    yield get
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def bpe_tokens():
    return train_sentencepiece(SENTENCES, 40)


@pytest.fixture(scope="session")
def whisper_tokens(whisper_directory):
    return from_whisper(str(whisper_directory), "en")


@pytest.fixture(scope="session", params=["whisper", "bpe"])
def base_tokens(request, whisper_tokens, bpe_tokens) -> tuple[str, TextTokens]:
    """Both kinds in turn, as (token_type, tokens)."""
    return request.param, whisper_tokens if request.param == "whisper" else bpe_tokens


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A tiny corpus, as tiny_experiment writes it. Not to be changed."""
    return write_corpus(tmp_path_factory.mktemp("session") / "corpus")


@pytest.fixture(scope="session")
def whole(corpus):
    """What a run that nobody stopped leaves behind."""
    return contents(train_and_average(corpus, corpus / "whole", *OVERRIDES))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A corpus and, in its exp, a model trained until its answers differ between utterances. Not to be changed."""
    root = write_corpus(tmp_path_factory.mktemp("trained") / "corpus")
    train_and_average(root, root / "exp", "max_steps=60", "valid_interval=30", "optim.lr=1e-2")
    return root


@pytest.fixture(scope="session")
def scored(tmp_path_factory):
    """A corpus and in its exp a model of two steps, hypotheses in decode_x/test, their scores. Not to be changed."""
    root = write_corpus(tmp_path_factory.mktemp("scored") / "corpus")
    exp = train_and_average(root, root / "exp", "max_steps=2", "keep_checkpoints=true")
    hyp = exp / "decode_x/test"
    call(decode, *decode_arguments(root, exp, hyp))
    call(score, "--ref_dir", root / "test", "--hyp_dir", hyp, "--tasks", TASKS, "--exp_dir", exp, "--out",
         hyp / "score/result.json")  # fmt: skip
    return root


def copy_to_spoil(root: Path, directory: Path) -> Path:
    """Without the audio: wav.scp still names that of the original."""
    return shutil.copytree(root, directory / "copy", ignore=shutil.ignore_patterns("wav"), symlinks=True)


@pytest.fixture
def root(scored, tmp_path):
    """A copy of `scored` for one test to spoil."""
    return copy_to_spoil(scored, tmp_path)


@pytest.fixture(scope="module")
def exp(scored, tmp_path_factory):
    """The experiment in a copy of `scored`, for a file of tests that put back what they change."""
    return copy_to_spoil(scored, tmp_path_factory.mktemp("spoilt")) / "exp"


@pytest.fixture
def refused(root, capfd) -> Callable[[Case], None]:
    """Have a stage refuse a case on `root`, see refusals.py."""
    return partial(check_refusal, root, capfd)


@pytest.fixture(scope="module")
def no_git():
    """Asking git for the revision takes longer than a training run here."""
    with mock.patch("whisper_er.train.experiment.git_revision", return_value="unknown"):
        yield


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory) -> Iterator[Path]:
    """A directory whose `python` starts the package's entry points without loading torch anew."""
    with warm_pythons.running(tmp_path_factory.mktemp("python")) as directory:
        yield directory


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which sbatch reaches a private Slurm of two nodes."""
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            env = stack.enter_context(slurm_cluster.running())
        except RuntimeError as error:
            pytest.skip(f"a Slurm for tests does not start here: {error}")
        yield env


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium, as playwright hands it out."""
    if reason := browsers.why_not():
        pytest.skip(reason)
    with browsers.running() as opened:
        yield opened
