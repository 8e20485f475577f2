"""How long a text may be, and what a prediction says of one that is as long as it may be, or repeats itself."""

import pytest
import torch
from tiny_export import VALUES, learn, sounds, tokenizer_of
from tiny_whisper import batch_of

from whisper_er.config import DecodeConfig
from whisper_er.models.search import Hypothesis
from whisper_er.models.seq2seq import CUT, longest_targets, to_prediction
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


def test_what_is_as_long_as_it_may_be_is_named(bpe_tokens, tmp_path):
    utterances = sounds(tmp_path / "wav")
    tokenizer = tokenizer_of(("bpe", bpe_tokens))
    model, batch = learn(tokenizer, utterances), batch_of(utterances, tokenizer)
    for beam_size in (1, 4):
        whole, cut = (model.predict(batch, DecodeConfig(beam_size, maxlenratio=ratio)) for ratio in (2.0, 0.0))
        assert [(item.values["asr"], item.warnings) for item in whole] == [(one["asr"], ()) for one in VALUES]
        assert [(item.values["asr"], item.warnings) for item in cut] == [("", (CUT,))] * 3


def test_a_text_that_repeats_itself_is_named_and_a_model_without_text_has_no_warning(bpe_tokens):
    tokenizer = tokenizer_of(("bpe", bpe_tokens), "asr emotion")
    posteriors = {1: torch.zeros(3)}
    ids = [*[2, 5] * 10, tokenizer.task_ids[1][0], tokenizer.end]
    assert to_prediction(tokenizer, "u", Hypothesis(ids, 0.0, posteriors, posteriors), "best").warnings == (REPEATS,)
    labels = tokenizer_of(("bpe", bpe_tokens), "emotion")
    hypothesis = Hypothesis(
        [labels.task_ids[0][0], labels.end], 0.0, {0: torch.zeros(3)}, {0: torch.zeros(3)}, cut=True
    )
    assert to_prediction(labels, "u", hypothesis, "best").warnings == ()
