"""The search of fixed shapes, rehearsed on the CPU, finds what the search with the growing cache finds."""

import pytest
import torch
from recorded_graph import RecordedGraph
from tiny_whisper import TASKS as USUAL
from tiny_whisper import batch_of, tiny_model, write_utterances

from whisper_er.config import DecodeConfig
from whisper_er.graphs.captured import CaptureFailed
from whisper_er.graphs.repeated import Repeated
from whisper_er.models import seq2seq
from whisper_er.search import captured_beam
from whisper_er.task import scale
from whisper_er.text.tokenizer import Tokenizer

SECONDS = [0.31, 2.2, 0.5, 1.0, 3.4, 0.2, 1.7, 0.9, 1.3, 0.7, 2.6]
TASKS = USUAL | {"arousal": scale("arousal", 1, 5, 4)}


@pytest.fixture
def by_graphs(monkeypatch):
    monkeypatch.setattr("whisper_er.graphs.captured.Rehearsal", RecordedGraph)
    monkeypatch.setattr(
        seq2seq.WhisperER,
        "by_graphs",
        lambda self, config, device: config.graphs == "auto" and self.is_capture_possible,
    )


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


def prepare(bpe_tokens, tmp_path, tasks: str):
    tokenizer = Tokenizer(bpe_tokens, [TASKS[name] for name in tasks.split()], "bpe", "en")
    utterances = write_utterances(tmp_path, SECONDS, [dict.fromkeys(tasks.split(), "")] * len(SECONDS))
    return tiny_model(tokenizer), batch_of(utterances, tokenizer)


CASES = [
    ("asr gender emotion", "strict", 4), ("asr gender emotion", "free", 2), ("gender asr emotion", "strict", 1),
    ("gender asr emotion", "free", 1), ("asr", "strict", 2), ("gender arousal emotion", "strict", 4),
]  # fmt: skip


@pytest.mark.parametrize("tasks, grammar, beam_size", CASES)
def test_it_finds_what_the_search_with_the_growing_cache_finds(
    bpe_tokens, tmp_path, by_graphs, monkeypatch, tasks, grammar, beam_size
):
    monkeypatch.setattr(captured_beam, "SLOTS", 8)
    model, batch = prepare(bpe_tokens, tmp_path, tasks)
    found = assert_same_hypotheses(model, batch, beam_size=beam_size, grammar=grammar, maxlenratio=0.2)
    if "asr" in tasks:
        lengths = {len(one.ids) for one in found}
        assert len(lengths) > 3 and max(lengths) > 16 and any(one.cut for one in found)  # the cache grew twice


def test_shapes_that_are_met_again_are_captured_once_and_see_weights_that_changed(bpe_tokens, tmp_path, by_graphs):
    model, batch = prepare(bpe_tokens, tmp_path, "asr gender emotion")
    options = {"beam_size": 2, "maxlenratio": 0.2}
    first = assert_same_hypotheses(model, batch, **options)
    (search,) = model.searches.values()
    captured = list(search.repeated.met.values())
    assert_same_hypotheses(model, batch, **options)
    assert captured and list(search.repeated.met.values()) == captured
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight += 0.1 * torch.randn_like(weight)
    found = assert_same_hypotheses(model, batch, **options)
    assert [one.ids for one in found] != [one.ids for one in first]
    model.load_state_dict({name: 0.9 * weight for name, weight in model.state_dict().items()}, assign=True)
    assert_same_hypotheses(model, batch, **options)
    (other,) = model.searches.values()
    assert other is not search


def test_under_autocast_it_multiplies_by_weights_that_were_cast_before(bpe_tokens, tmp_path, by_graphs):
    model, batch = prepare(bpe_tokens, tmp_path, "gender emotion")
    for dtype in ("bfloat16", "float32", "bfloat16"):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            expected, found = (model.answer(batch, DecodeConfig(graphs=graphs)).score_U for graphs in ("off", "auto"))
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
        with torch.no_grad():
            model.decoder.embed_tokens.weight *= 1.5
            model.decoder.layers[0].fc1.weight *= 2


@pytest.mark.parametrize("grammar", ["strict", "free"])
def test_a_step_reads_nothing_from_its_device_and_mixes_no_two(bpe_tokens, tmp_path, by_graphs, monkeypatch, grammar):
    """On `meta`, which holds no value that could be read."""
    states, begin = [], Repeated.begin
    monkeypatch.setattr(Repeated, "begin", lambda self, inputs: (states.append(dict(inputs)), begin(self, inputs)))
    model, batch = prepare(bpe_tokens, tmp_path, "asr gender emotion")
    model.answer(batch, DecodeConfig(graphs="auto", grammar=grammar, maxlenratio=0.1))
    (search,) = model.searches.values()
    model.decoder.to("meta")
    search.grammar.to("meta")
    outputs = search.step({name: tensor.to("meta") for name, tensor in states[0].items()})
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(outputs["is_any_running"])


def test_where_nothing_can_be_captured_a_line_says_so_and_the_search_goes_on(
    bpe_tokens, tmp_path, by_graphs, monkeypatch, capsys
):
    def fail(self, inputs):
        raise CaptureFailed("no driver")

    monkeypatch.setattr(Repeated, "capture", fail)
    model, batch = prepare(bpe_tokens, tmp_path, "asr gender emotion")
    for _ in range(2):
        assert_same_hypotheses(model, batch, beam_size=2, maxlenratio=0.1)
    assert capsys.readouterr().out == "search: no driver; from here on every kernel of it is launched by itself\n"
