"""The beam search against transformers' generic `generate`, where any token may be said at any time.

Both stop an utterance by the same rule. They differ only at the longest length: `generate` returns the sequence as it
is cut, ours always ends in <|endoftext|>; so the comparison is made where the best sequence ends before.
"""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_whisper import ASR, EMOTION, GENDER, SIZES, batch_of, write_utterances
from transformers import GenerationConfig, GenerationMixin, WhisperConfig, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.models.seq2seq import WhisperER
from whisper_er.task import Prediction
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import Suppressed

END, PREFIX, LONGEST = 24, [3, 7], 24
# One task of text in which every token but the end is a word: no grammar.
OPEN = SimpleNamespace(
    prefix=PREFIX,
    end=END,
    num_text=END,
    size=END + 1,
    find=lambda token: None,
    decode=lambda ids: " ".join(map(str, ids)),
)


@torch.no_grad()
def random_whisper(seed: int, size: int = END + 1) -> WhisperForConditionalGeneration:
    special = dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id"], END)
    config = WhisperConfig(**{**SIZES, "max_target_positions": LONGEST}, **special, vocab_size=size)
    config.decoder_start_token_id = PREFIX[0]
    torch.manual_seed(seed)
    whisper = WhisperForConditionalGeneration(config).eval()
    # A fresh row of the padding token is 0: it is drawn, and leaned towards, so that sequences end. Wide positions make
    # the model say something else at each; with a fresh tied embedding it would repeat its input.
    end_D = torch.nn.init.normal_(whisper.get_input_embeddings().weight[END], std=SIZES["init_std"])
    torch.nn.init.normal_(whisper.model.decoder.embed_positions.weight, std=2.0)
    whisper.model.decoder.layer_norm.bias.copy_(0.5 * end_D)
    return whisper


@pytest.mark.parametrize("num_beams,length_penalty", [(4, 1.0), (4, 0.0), (4, 0.5), (2, 1.0)])
@pytest.mark.parametrize("seed", [1, 2, 3])
@torch.no_grad()
def test_without_a_grammar_the_best_sequence_and_its_score_are_those_of_generate(
    tmp_path, seed, num_beams, length_penalty
):
    whisper = random_whisper(seed)
    config = DecodeConfig(beam_size=num_beams, length_penalty=length_penalty, maxlenratio=10.0)
    for item, words, score in both_searches(whisper, Tokenizer(OPEN, [ASR], "bpe", "en"), config, tmp_path):
        assert END in words  # else the sequence was cut, see above
        assert item.values["asr"] == OPEN.decode(words[: words.index(END)])
        assert item.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("num_beams,length_penalty", [(4, 1.0), (4, 0.0), (2, 1.0)])
@torch.no_grad()
def test_the_free_grammar_writes_what_generate_writes_and_reads_the_answers_from_it(
    tmp_path, num_beams, length_penalty
):
    tokenizer = Tokenizer(OPEN, [ASR, GENDER, EMOTION], "bpe", "en")
    config = DecodeConfig(num_beams, length_penalty, maxlenratio=10.0, grammar="free")
    labels = dict(enumerate((*GENDER.labels, *EMOTION.labels), start=END + 1))
    values = []
    for seed in (1, 2, 3):
        whisper = random_whisper(seed, tokenizer.size)
        whisper.get_input_embeddings().weight[END + 1 :] *= 1.5  # labels are said now and then
        for item, words, score in both_searches(whisper, tokenizer, config, tmp_path):
            if END not in words:  # cut, see above
                continue
            words = words[: words.index(END)]
            assert item.values["asr"] == OPEN.decode([word for word in words if word < END])
            for task in (GENDER, EMOTION):
                said = [labels[word] for word in words if labels.get(word) in task.labels]
                assert item.values[task.name] == (said[0] if said else "")
                assert sum(item.posteriors[task.name]) == pytest.approx(1)
            assert item.score == pytest.approx(score, abs=1e-4)
            values.append(item.values)
    assert len(values) > 5
    for task in (GENDER, EMOTION):  # both happen, else little was compared
        assert {bool(one[task.name]) for one in values} == {True, False}


def both_searches(
    whisper: WhisperForConditionalGeneration, tokenizer: Tokenizer, config: DecodeConfig, directory: Path
) -> list[tuple[Prediction, list[int], float]]:
    """Per utterance: our prediction; the ids after the prefix and the score of generate."""
    model = WhisperER(copy.deepcopy(whisper.model), tokenizer, TrainConfig()).eval()
    # as long as each other: generate has no mask
    nothing = {task.name: "" for task in tokenizer.tasks}
    batch = batch_of(write_utterances(directory, [0.9] * 4, [nothing] * 4), tokenizer)
    states_BTD, _ = model.audio_encoder(batch.wave_BS, batch.samples_B)
    generated = GenerationMixin.generate(
        whisper,
        encoder_outputs=BaseModelOutput(last_hidden_state=states_BTD),
        decoder_input_ids=torch.tensor([PREFIX] * 4),
        generation_config=GenerationConfig(
            num_beams=config.beam_size,
            do_sample=False,
            length_penalty=config.length_penalty,
            early_stopping=False,
            max_length=LONGEST,
            eos_token_id=END,
            pad_token_id=END,
            decoder_start_token_id=PREFIX[0],
            return_dict_in_generate=True,
            output_scores=True,
        ),
    )
    words = [ids[len(PREFIX) :] for ids in generated.sequences.tolist()]
    return list(zip(model.predict(batch, config), words, generated.sequences_scores.tolist(), strict=True))


@torch.no_grad()
def test_what_is_suppressed_everywhere_and_at_the_start_is_what_generate_suppresses(tmp_path):
    whisper = random_whisper(1)
    batch = batch_of(write_utterances(tmp_path, [0.9] * 4, [{"asr": ""}] * 4), Tokenizer(OPEN, [ASR], "bpe", "en"))

    def predict(always=(), first=()):
        text = SimpleNamespace(**vars(OPEN), suppressed=Suppressed(tuple(always), tuple(first)))
        model = WhisperER(copy.deepcopy(whisper.model), Tokenizer(text, [ASR], "bpe", "en"), TrainConfig()).eval()
        return model, model.predict(batch, DecodeConfig(suppress="whisper", maxlenratio=10.0))

    free = [[int(word) for word in item.values["asr"].split()] for item in predict()[1]]
    always, first = [free[0][1]], [free[0][0], END]
    model, found = predict(always, first)
    states_BTD, _ = model.audio_encoder(batch.wave_BS, batch.samples_B)
    generated = GenerationMixin.generate(
        whisper,
        encoder_outputs=BaseModelOutput(last_hidden_state=states_BTD),
        decoder_input_ids=torch.tensor([PREFIX] * 4),
        generation_config=GenerationConfig(
            num_beams=4, do_sample=False, early_stopping=False, max_length=LONGEST, eos_token_id=END, pad_token_id=END,
            decoder_start_token_id=PREFIX[0], suppress_tokens=always, begin_suppress_tokens=first,
        ),
    )  # fmt: skip
    compared = 0
    for item, ids in zip(found, generated.tolist(), strict=True):
        words = ids[len(PREFIX) :]
        if END in words:
            assert item.values["asr"] == OPEN.decode(words[: words.index(END)])
            compared += 1
    assert compared and [int(word) for word in found[0].values["asr"].split()] != free[0]
