"""How long a text may be, and what a prediction says of one that is as long as it may be, or repeats itself."""

import pytest
import torch
from tiny_export import tokenizer_of

from whisper_er.config import DecodeConfig
from whisper_er.models.seq2seq import CUT, longest_targets, to_prediction
from whisper_er.search.beam import Hypothesis
from whisper_er.text.grammar import StrictGrammar
from whisper_er.text.repetition import REPEATS


@pytest.mark.parametrize("letters_per_second", [10, 20, 30])
def test_speech_of_three_tokens_a_letter_is_not_cut(whisper_tokens, letters_per_second):
    tokenizer, text = tokenizer_of(("whisper", whisper_tokens)), "ყველა ადამიანი იბადება თავისუფალი"
    ids, _ = tokenizer.encode({"asr": text, "gender": "male", "emotion": "sad"})
    assert len(ids) > 3 * 30
    samples_B = torch.tensor([16000 * len(text) // letters_per_second])
    longest = longest_targets(StrictGrammar(tokenizer), samples_B, DecodeConfig().maxlenratio, 444)
    assert len(ids) < int(longest)


def test_a_text_that_may_be_cut_or_repeats_itself_is_named_and_a_model_without_text_has_no_warning(bpe_tokens):
    tokenizer, posteriors = tokenizer_of(("bpe", bpe_tokens), "asr emotion"), {1: torch.zeros(3)}

    def warnings(words: list[int], cut: bool) -> tuple[str, ...]:
        ids = [*words, tokenizer.task_ids[1][0], tokenizer.end]
        return to_prediction(tokenizer, "u", Hypothesis(ids, 0.0, posteriors, posteriors, cut), "best").warnings

    assert warnings([2, 5], cut=False) == ()
    assert warnings([2, 5], cut=True) == (CUT,)
    assert warnings([2, 5] * 10, cut=False) == (REPEATS,)
    assert warnings([2, 5] * 10, cut=True) == (CUT, REPEATS)
    labels = tokenizer_of(("bpe", bpe_tokens), "emotion")
    hypothesis = Hypothesis(
        [labels.task_ids[0][0], labels.end], 0.0, {0: torch.zeros(3)}, {0: torch.zeros(3)}, cut=True
    )
    assert to_prediction(labels, "u", hypothesis, "best").warnings == ()
