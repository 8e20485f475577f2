"""Turns before an utterance in front of the prefix: the sequence by hand, prefixes of unequal length in a batch."""

from dataclasses import replace

import pytest
import torch
from tiny_whisper import batch_of, logits_of, tasks_of, tiny_model, whisper_tokenizer, write_utterances

from whisper_er.batch import IGNORE
from whisper_er.config import DecodeConfig
from whisper_er.models.decoder import cross_attention_inputs, decode
from whisper_er.models.seq2seq import WhisperER
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import PREVIOUS
from whisper_er.text.whisper_vocabulary import WhisperTokens

GOOD, DAY = {"asr": "good", "emotion": "happy"}, {"asr": "day", "emotion": ""}
OWN = {"asr": "good", "gender": "male", "emotion": "sad"}
CONTEXTS = [(GOOD,), (), (GOOD, DAY), (DAY,) * 20]  # the last is longer than half of the decoder's positions


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    hf = whisper_tokenizer()
    hf.add_tokens([PREVIOUS])
    return Tokenizer(WhisperTokens(hf, len(hf), "en"), tasks_of("gender asr emotion"), "whisper", "en")


@pytest.fixture
def utterances(tmp_path):
    plain = write_utterances(tmp_path, [0.4, 0.3, 0.5, 0.4], [OWN] * 4)
    return [replace(utt, context=context) for utt, context in zip(plain, CONTEXTS)]


def test_the_decoder_reads_the_turns_before_their_texts_then_their_labels(tokenizer, utterances):
    batch, text = batch_of(utterances, tokenizer), tokenizer.text
    good, day, happy = text.encode("good"), text.encode("day"), tokenizer.task_ids[2][1]
    before = [text.find(PREVIOUS), *good, happy, *day]
    ids, owners = tokenizer.encode(OWN)
    assert batch.input_BL[2, : len(before) + 4 + len(ids) - 1].tolist() == [*before, *tokenizer.prefix, *ids[:-1]]
    learned = len(before) + 3
    assert set(batch.target_BL[2, :learned].tolist()) == {IGNORE}
    assert batch.target_BL[2, learned : learned + len(ids)].tolist() == ids
    assert batch.task_BL[2, learned : learned + len(ids)].tolist() == owners
    assert batch.context_B.tolist() == [len(good) + 2, 0, len(before), 32]  # 64 positions: <|startofprev|> and 31
    assert batch.input_BL[3, 1:32].tolist() == (day * 20)[-31:]


def test_without_turns_a_batch_is_what_it_was(tokenizer, utterances):
    batch = batch_of([replace(utt, context=()) for utt in utterances], tokenizer)
    assert batch.context_B is None and set(batch.input_BL[:, 0].tolist()) == {tokenizer.prefix[0]}


def test_a_long_target_leaves_the_turns_fewer_positions(tokenizer, utterances):
    own = OWN | {"asr": "e" * 45}
    batch = batch_of([replace(utterances[3], values=own)], tokenizer)
    assert batch.input_BL.shape == (1, 64) and batch.context_B.tolist() == [64 - 3 - len(tokenizer.encode(own)[0])]


def test_a_special_token_that_an_answer_spells_is_read_as_its_letters(tokenizer):
    ids = tokenizer.encode_context([{"asr": "good <|endoftext|> day"}], 31)[1:]
    assert max(ids) < tokenizer.text.num_text and tokenizer.decode_text(ids) == "good <|endoftext|> day"
    assert tokenizer.text.encode_answer("good day") == tokenizer.text.encode("good day")


@pytest.mark.parametrize("lang", ["", "de", "auto"])
def test_prefixes_of_different_length_decode_the_same_in_a_batch_and_alone(tokenizer, utterances, lang):
    model, config = tiny_model(tokenizer), DecodeConfig(lang=lang)
    together = model.predict(batch_of(utterances, tokenizer), config)
    for utt, one in zip(utterances, together):
        (alone,) = model.predict(batch_of([utt], tokenizer), config)
        assert alone.values == one.values and alone.score == pytest.approx(one.score, rel=1e-5)
        for task, posterior in alone.posteriors.items():
            assert posterior == pytest.approx(one.posteriors[task], abs=1e-5)
    without = model.predict(batch_of([replace(utt, context=()) for utt in utterances], tokenizer), config)
    assert [one.score == pytest.approx(two.score, rel=1e-3) for one, two in zip(together, without)] == [
        not context for context in CONTEXTS
    ]


def test_a_search_by_graphs_reads_them_as_the_other_search_does(tokenizer, utterances, monkeypatch):
    monkeypatch.setattr(WhisperER, "by_graphs", lambda self, config, device: config.graphs == "auto")
    model, batch = tiny_model(tokenizer), batch_of(utterances, tokenizer)
    eager, by_graphs = (
        model.answer(batch, DecodeConfig(graphs=graphs)).read(tokenizer.end) for graphs in ("off", "auto")
    )
    assert model.searches and [one.ids for one in by_graphs] == [one.ids for one in eager]
    assert [one.score for one in by_graphs] == pytest.approx([one.score for one in eager], abs=1e-5)


@torch.no_grad()
def test_a_hypothesis_has_the_probability_that_a_pass_without_padding_gives_it(tokenizer, utterances):
    model, config = tiny_model(tokenizer), DecodeConfig(length_penalty=0.0)
    batch = batch_of(utterances, tokenizer)
    states_BTD, mask_BT = model.encode(batch)
    for b, hypothesis in enumerate(model.answer(batch, config).read(tokenizer.end)):
        start = int(batch.context_B[b]) + len(tokenizer.prefix)
        read = torch.tensor([[*batch.input_BL[b, :start].tolist(), *hypothesis.ids[:-1]]])
        assert read.shape[1] <= model.max_target
        cross = cross_attention_inputs(model.decoder, states_BTD[b : b + 1], mask_BT[b : b + 1])
        logp_LV = model.logits(decode(model.decoder, read, cross)[0])[0, start - 1 :].log_softmax(-1)
        logp = logp_LV.gather(1, torch.tensor(hypothesis.ids)[:, None]).sum()
        assert hypothesis.score == pytest.approx(float(logp), rel=1e-5)


@torch.no_grad()
def test_answers_given_the_references_stand_behind_the_turns(tokenizer, utterances):
    model, batch = tiny_model(tokenizer), batch_of(utterances, tokenizer)
    ids, logits_BLV = torch.tensor(tokenizer.task_ids[2]), logits_of(model, batch)
    for b, prediction in enumerate(model.given(batch)):
        (place,) = (batch.target_BL[b] == ids[2]).nonzero()[:, 0].tolist()
        expected = logits_BLV[b, place, ids].softmax(-1).tolist()
        assert prediction.posteriors["emotion"] == pytest.approx(expected, abs=1e-6)


def test_what_only_the_turn_before_tells_is_learned_from_it(tokenizer, utterances):
    """The same sound eight times; whether it is happy or sad is what was said before."""
    turns = [({"asr": "good"},), ({"asr": "day"},)] * 4
    answers = ["happy", "sad"] * 4
    same = [
        replace(
            utterances[0], utt_id=f"u{n}", values={"asr": "good", "gender": "male", "emotion": answer}, context=turn
        )
        for n, (turn, answer) in enumerate(zip(turns, answers))
    ]
    found = {}
    for name, lesson in {"with": same, "without": [replace(utt, context=()) for utt in same]}.items():
        model = tiny_model(tokenizer, sizes={"init_std": 0.05, "d_model": 32})
        optimizer, batch = torch.optim.Adam(model.decoder.parameters(), lr=1e-2), batch_of(lesson, tokenizer)
        encoded = tuple(tensor if tensor is None else tensor.detach() for tensor in model.encode(batch))
        for _ in range(60):
            optimizer.zero_grad()
            loss = model(batch, encoded).loss / len(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 1.0)
            optimizer.step()
        predictions = model.predict(batch, DecodeConfig())
        found[name] = [one.values["emotion"] for one in predictions], float(loss.detach())
    assert found["with"][0] == answers and found["with"][1] < 0.1
    # The emotion's term of the loss is of two tokens, of which it and <|endoftext|> ends: at best ln(2) / 2.
    assert len(set(found["without"][0])) == 1 and found["without"][1] > 0.34
