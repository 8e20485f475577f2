"""A search is chosen by its name in the configuration of decoding."""

import pytest
import torch
from tiny_whisper import EMOTION, GENDER, batch_of, tiny_model, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.config import DecodeConfig
from whisper_er.search.beam import SEARCHES, BestHypotheses
from whisper_er.text.tokenizer import Tokenizer


def last_labels(first_logits_UV, step, grammar, max_tokens_U, config):
    """Says the last label of every category, whatever the model thinks."""
    ids = [ids[-1] for ids in grammar.task_ids]
    given = {k: first_logits_UV[:, ids].log_softmax(-1) for k, ids in enumerate(grammar.task_ids)}
    ids_UL = torch.tensor([[*ids, grammar.end]]).repeat(len(max_tokens_U), 1)
    return BestHypotheses(ids_UL, torch.zeros(len(max_tokens_U)), given, given, max_tokens_U)


def test_one_that_is_registered_is_chosen_by_its_name(bpe_tokens, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="search: 'last' is not allowed; allowed: beam"):
        build(DecodeConfig, {"search": "last"}, "decode.yaml")
    monkeypatch.setitem(SEARCHES, "last", last_labels)
    tokenizer = Tokenizer(bpe_tokens, [GENDER, EMOTION], "bpe", "en")
    batch = batch_of(write_utterances(tmp_path, [0.3, 0.5], [{"gender": "", "emotion": ""}] * 2), tokenizer)
    predictions = tiny_model(tokenizer).predict(batch, build(DecodeConfig, {"search": "last"}, "decode.yaml"))
    assert [item.values for item in predictions] == [{"gender": "male", "emotion": "sad"}] * 2
