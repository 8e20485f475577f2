"""Fixtures that several files share."""

from collections.abc import Iterator

import pytest
import slurm_cluster
from tiny_whisper import SENTENCES, write_whisper

from whisper_er.tokenizer import TextTokens, from_whisper, train_sentencepiece


@pytest.fixture(scope="session")
def whisper_directory(tmp_path_factory):
    """A tiny random Whisper as transformers saves it."""
    directory = tmp_path_factory.mktemp("whisper")
    write_whisper(directory)
    return directory


@pytest.fixture(scope="session")
def bpe_tokens(tmp_path_factory):
    return train_sentencepiece(SENTENCES, 40, tmp_path_factory.mktemp("sentencepiece"))


@pytest.fixture(scope="session")
def whisper_tokens(whisper_directory):
    return from_whisper(str(whisper_directory), "en")


@pytest.fixture(scope="session", params=["whisper", "bpe"])
def base_tokens(request, whisper_tokens, bpe_tokens) -> tuple[str, TextTokens]:
    """Both kinds in turn, as (token_type, tokens)."""
    return request.param, whisper_tokens if request.param == "whisper" else bpe_tokens


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which sbatch reaches a private Slurm of two nodes."""
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    with slurm_cluster.running() as env:
        yield env
