"""Which label a beam says: that of its best hypothesis, or the most probable over all of them."""

from types import SimpleNamespace

import pytest
import torch
from tiny_whisper import THREE_WORDS, tasks_of

from whisper_er.base.errors import UserError
from whisper_er.config import DecodeConfig
from whisper_er.models.seq2seq import to_prediction
from whisper_er.search.beam import beam_search
from whisper_er.text.grammar import StrictGrammar
from whisper_er.text.tokenizer import Tokenizer

WORDS = SimpleNamespace(**vars(THREE_WORDS), decode=lambda ids: " ".join(map(str, ids)))
TOKENIZER = Tokenizer(WORDS, tasks_of("asr emotion"), "bpe", "en")
ANGRY, HAPPY, SAD = TOKENIZER.task_ids[1]


def logits(probabilities: dict[int, float]) -> torch.Tensor:
    return torch.tensor([probabilities.get(index, 1e-9) for index in range(TOKENIZER.size)]).log()


# The likeliest transcript, word 0, is a happy one; the other two are sad.
FIRST = logits({0: 0.4, 1: 0.3, 2: 0.3})
AFTER = torch.stack([
    logits({HAPPY: 1.0}), logits({SAD: 1.0}), logits({SAD: 1.0}),
    *[logits({TOKENIZER.end: 1.0})] * (TOKENIZER.size - 3),
])  # fmt: skip


@pytest.mark.parametrize("decide, label", [("best", "happy"), ("marginal", "sad")])
def test_three_transcripts_of_which_the_likeliest_stands_alone(decide, label):
    config = DecodeConfig(decide=decide)
    found = beam_search(
        FIRST[None], lambda tokens_BK, rows_BK: AFTER[tokens_BK], StrictGrammar(TOKENIZER), torch.tensor([4]), config
    )
    (hypothesis,) = found.read(TOKENIZER.end)
    prediction = to_prediction(TOKENIZER, "u", hypothesis, config.posterior, config.decide)
    assert hypothesis.ids == [0, HAPPY, TOKENIZER.end] and prediction.values["emotion"] == label
    assert prediction.posteriors["emotion"] == pytest.approx([0, 0.4, 0.6], abs=1e-6)


@pytest.mark.parametrize("other", [{"posterior": "best"}, {"teacher_forced": True}])
def test_without_a_posterior_over_the_beam_there_is_nothing_to_decide_by(other):
    with pytest.raises(UserError, match="decide.*marginal.*allowed: best with"):
        DecodeConfig(decide="marginal", **other)
