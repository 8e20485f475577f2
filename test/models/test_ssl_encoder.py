"""wav2vec 2.0, HuBERT and WavLM as encoders: what transformers' model says of an utterance alone, in any batch."""

import json

import numpy as np
import pytest
import torch
from tiny_experiment import call, change, decode_arguments, train_arguments, write_corpus
from tiny_ssl import FAMILIES, SECONDS, VARIANTS, classifier, write_model
from tiny_whisper import EMOTION, batch_of, write_utterances
from transformers import (
    Wav2Vec2FeatureExtractor,
)

from whisper_er.base.errors import UserError
from whisper_er.bin import average, decode, token_list, train
from whisper_er.config import DecodeConfig, ModelConfig, SpecAugmentConfig, TrainConfig
from whisper_er.models.build import build_model, empty_model
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import NoText


@pytest.fixture
def batch(tmp_path):
    tokenizer = Tokenizer(NoText(), [EMOTION], "none", "en")
    return batch_of(write_utterances(tmp_path, SECONDS, [{"emotion": "sad"}] * len(SECONDS)), tokenizer)


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_in_a_batch_are_those_of_transformers_on_the_utterance_alone(
    tmp_path, batch, family, variant, do_normalize
):
    theirs = write_model(tmp_path / "model", family, variant, do_normalize)
    reader = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "model")
    model, _ = classifier(tmp_path / "model")
    states_BTD, mask_BT = model.audio_encoder(batch.wave_BS, batch.samples_B)
    frames_B = model.audio_encoder.real_frames(batch.samples_B)
    assert mask_BT.sum(1).tolist() == frames_B.tolist()
    for wave, samples, states, frames in zip(batch.wave_BS, batch.samples_B, states_BTD, frames_B):
        inputs = reader(wave[:samples].numpy(), sampling_rate=16000, return_tensors="np").input_values[0]
        inputs = np.pad(inputs, (0, max(0, 400 - len(inputs))))
        expected = theirs(torch.from_numpy(inputs)[None]).last_hidden_state[0]
        assert len(expected) == frames
        torch.testing.assert_close(states[:frames], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_convolutions_are_frozen_and_everything_else_learns(tmp_path, batch, family):
    write_model(tmp_path / "model", family, "base")
    model, _ = classifier(tmp_path / "model")
    model(batch).loss.backward()
    for name, parameter in model.named_parameters():
        if ".convolutions." in name:
            assert not parameter.requires_grad and parameter.grad is None
        else:
            assert parameter.grad is not None, name


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_saved_model_is_made_again_from_its_configuration_and_weights(tmp_path, batch, family):
    write_model(tmp_path / "model", family, "base", do_normalize=False)
    model, config = classifier(tmp_path / "model")
    again = empty_model(
        config,
        json.loads(model.backbone_config.to_json_string(use_diff=False)),
        Tokenizer(NoText(), [EMOTION], "none", "en"),
    )
    again.load_state_dict(model.state_dict(), assign=True)
    assert again.backbone_config.do_normalize is False
    torch.testing.assert_close(again.eval().logits(batch)[0], model.logits(batch)[0], atol=0, rtol=0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pad": "+1"}, "log-mel"),
        ({"train_pad": {"none": 1.0}}, "log-mel"),
        ({"specaug": SpecAugmentConfig(time_masks=1)}, "log-mel"),
        ({"kind": "seq2seq"}, "no decoder"),
        ({"whisper_model": "x"}, "both given"),
    ],
)
def test_what_belongs_to_whisper_is_an_error(tmp_path, options, message):
    write_model(tmp_path, "hubert", "base")
    config = TrainConfig(model=ModelConfig(**{"kind": "encoder_classifier", "encoder_model": str(tmp_path)} | options))
    with pytest.raises(UserError, match=message):
        build_model(config, Tokenizer(NoText(), [EMOTION], "none", "en"))


def test_another_kind_of_model_is_named(tmp_path):
    from tiny_whisper import write_whisper

    write_whisper(tmp_path)
    with pytest.raises(UserError, match="is a whisper model; allowed: wav2vec2 hubert wavlm"):
        classifier(tmp_path)


def test_a_label_task_goes_from_token_list_to_hypotheses_without_a_text_vocabulary(tmp_path):
    root, exp_dir = write_corpus(tmp_path / "corpus"), tmp_path / "exp"
    write_model(tmp_path / "model", "wavlm", "base")
    call(
        token_list,
        "--train_set",
        root / "train",
        "--tasks",
        "gender emotion",
        "--token_type",
        "none",
        "--out_dir",
        root / "token_list",
    )
    (root / "train.yaml").write_text("{model: {kind: encoder_classifier}, max_steps: 2, num_workers: 0, batch_size: 4}")
    change(root / "train", "utt2emotion", train_00="")
    call(train, *train_arguments(root, exp_dir, "--encoder_model", tmp_path / "model"))
    call(average, "--exp_dir", exp_dir)
    call(decode, *decode_arguments(root, exp_dir, tmp_path / "hyp"))
    assert len((tmp_path / "hyp" / "utt2emotion").read_text().splitlines()) == 4
    assert Recognizer.open(exp_dir).model.backbone_config.model_type == "wavlm"
    assert not (tmp_path / "hyp" / "text").exists()


def test_a_text_task_without_a_text_vocabulary_is_an_error(tmp_path):
    root = write_corpus(tmp_path / "corpus")
    with pytest.raises(UserError, match="token_type=none has no text"):
        call(
            token_list,
            "--train_set",
            root / "train",
            "--tasks",
            "asr emotion",
            "--token_type",
            "none",
            "--out_dir",
            tmp_path / "list",
        )


def test_greedy_and_beam_are_the_same_to_a_classifier(tmp_path, batch):
    write_model(tmp_path / "model", "hubert", "large")
    model, _ = classifier(tmp_path / "model")
    values = [[item.values for item in model.predict(batch, DecodeConfig(beam_size=size))] for size in (1, 4)]
    assert values[0] == values[1]
