"""A target that the model says comes back as the values it was made of, whatever the order of the tasks."""

from itertools import chain, repeat

import pytest
import torch
from tiny_whisper import ORDERS, batch_of, tasks_of, tiny_model, write_utterances

from whisper_er.config import DecodeConfig
from whisper_er.text.tokenizer import Tokenizer


def say(model, ids: list[int]) -> None:
    """From now on the model is almost certain of these tokens, one after the other."""
    tokens = chain(ids, repeat(ids[-1]))

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        result = torch.zeros(*hidden.shape[:-1], model.tokenizer.size)
        result[..., next(tokens)] = 15.0
        return result

    model.logits = logits


@pytest.mark.parametrize(
    "text", ["really good .", "", "they named <|happy|> a token", "<|happy|>", "<|male|><|angry|>"]
)
@pytest.mark.parametrize("order", ORDERS)
def test_text_and_labels_survive_a_decode(base_tokens, tmp_path, order, text):
    token_type, tokens = base_tokens
    tokenizer = Tokenizer(tokens, tasks_of(order), token_type, "en")
    values = {"asr": text, "gender": "female", "emotion": "sad"}
    ids, _ = tokenizer.encode(values)
    target = ids if ids[-1] == tokenizer.end else [*ids, tokenizer.end]  # an empty last text is not learned
    model = tiny_model(tokenizer)
    say(model, target)
    batch = batch_of(write_utterances(tmp_path, [0.5], [values]), tokenizer)
    [item] = model.predict(batch, DecodeConfig(beam_size=4, maxlenratio=2.0))
    assert item.values == values
    assert item.posteriors["gender"][0] > 0.9 and item.posteriors["emotion"][2] > 0.9
    assert sum(item.posteriors["emotion"]) == pytest.approx(1, abs=1e-5)
