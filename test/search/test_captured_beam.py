"""The search of fixed shapes, rehearsed on the CPU, finds what the search with the growing cache finds."""

from collections.abc import Hashable

import pytest
import torch
from tiny_whisper import ASR, EMOTION, GENDER, batch_of, tasks_of, tiny_model, write_utterances
from torch._subclasses.fake_tensor import FakeTensorMode

from whisper_er.config import DecodeConfig
from whisper_er.graphs.repeated import Repeated, rounded
from whisper_er.models import seq2seq
from whisper_er.search import captured_beam
from whisper_er.task import scale
from whisper_er.text.tokenizer import Tokenizer

SECONDS = [0.31, 2.2, 0.5, 1.0, 3.4, 0.2, 1.7, 0.9, 1.3, 0.7, 2.6]
AROUSAL = scale("arousal", 1, 5, 4)


@pytest.fixture
def by_graphs(monkeypatch):
    monkeypatch.setattr(seq2seq.WhisperER, "by_graphs", lambda self, config, device: config.graphs == "auto")


def assert_same_hypotheses(model, batch, **options):
    """Of both searches; returns them."""
    expected, found = (
        model.answer(batch, DecodeConfig(graphs=graphs, **options)).read(model.tokenizer.end)
        for graphs in ("off", "auto")
    )
    for one, other in zip(expected, found, strict=True):
        assert (other.ids, other.cut) == (one.ids, one.cut)
        assert other.score == pytest.approx(one.score, abs=1e-5)
        for by_task, of_eager in ((other.marginal, one.marginal), (other.best, one.best)):
            assert by_task.keys() == of_eager.keys()
            for k, logp in of_eager.items():
                torch.testing.assert_close(by_task[k].exp(), logp.exp(), atol=1e-5, rtol=0)
    return found


def prepare(bpe_tokens, tmp_path, tasks, seed=0, seconds=SECONDS):
    tokenizer = Tokenizer(bpe_tokens, tasks, "bpe", "en")
    utterances = write_utterances(tmp_path, seconds, [{task.name: "" for task in tasks}] * len(seconds))
    return tiny_model(tokenizer, seed), batch_of(utterances, tokenizer)


@pytest.mark.parametrize("beam_size", [1, 2, 4])
@pytest.mark.parametrize("grammar", ["strict", "free"])
@pytest.mark.parametrize("tasks", [tasks_of("asr gender emotion"), tasks_of("gender asr emotion"), [ASR],
                                   [GENDER, AROUSAL, EMOTION]])  # fmt: skip
def test_it_finds_what_the_search_with_the_growing_cache_finds(
    bpe_tokens, tmp_path, by_graphs, monkeypatch, tasks, grammar, beam_size
):
    monkeypatch.setattr(captured_beam, "SLOTS", 8)
    model, batch = prepare(bpe_tokens, tmp_path, tasks)
    found = assert_same_hypotheses(model, batch, beam_size=beam_size, grammar=grammar, maxlenratio=0.2)
    if ASR in tasks:
        lengths = {len(one.ids) for one in found}
        assert len(lengths) > 3 and max(lengths) > 16 and any(one.cut for one in found)  # the cache grew twice
