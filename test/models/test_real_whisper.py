"""Whisper's real vocabularies and a model with real weights, from the directory that WHISPER_ER_ASSETS names.

WHISPER_ER_ASSETS=<directory with tokenizer/ and make_whisper.py> pytest test/models/test_real_whisper.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_whisper import ORDERS, sound, tasks_of
from transformers import WhisperFeatureExtractor, WhisperTokenizer

from whisper_er.config import ModelConfig
from whisper_er.export.hf_tokenizer import to_hf_tokenizer
from whisper_er.models.build import load_whisper
from whisper_er.models.encoder import encode
from whisper_er.models.features import LogMel, PadRule
from whisper_er.task import category
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer
from whisper_er.text.whisper_vocabulary import WhisperTokens, from_whisper

ASSETS = os.environ.get("WHISPER_ER_ASSETS")
pytestmark = pytest.mark.skipif(not ASSETS, reason="WHISPER_ER_ASSETS is not set")

TEXTS = [
    "Really good.",
    "It's eleven o'clock, isn't it?",
    "Das will sie am Mittwoch abgeben – schön!",
    'well... (what) [is] that - a "quote"? 50% & more',
    "<|happy|> I don't know <|male|>",
    "こんにちは",
]
LABELS = "angry happy sad neutral fearful disgust surprised calm bored anxious excited frustrated female male"


def tokens_of(name: str) -> WhisperTokens:
    tokenizer = WhisperTokenizer.from_pretrained(Path(ASSETS) / "tokenizer" / name)
    return WhisperTokens(tokenizer, len(tokenizer), "en")


@pytest.fixture(scope="module", params=["whisper-base", "whisper-large-v3"])
def tokens(request):
    return tokens_of(request.param)


def test_the_prefix_of_base_is_the_published_one():
    tokens = tokens_of("whisper-base")
    assert (tokens.prefix, tokens.end, tokens.size) == ([50258, 50259, 50359, 50363], 50257, 51865)


def test_the_prefix_of_large_v3_is_one_further_from_transcribe_on():
    tokens = tokens_of("whisper-large-v3")
    assert (tokens.prefix, tokens.end, tokens.size) == ([50258, 50259, 50360, 50364], 50257, 51866)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back(tokens, text):
    ids = tokens.encode(text)
    assert max(ids) < tokens.num_text
    assert tokens.decode(ids) == text


def test_no_name_of_a_label_is_taken(tokens):
    tokenizer = Tokenizer(tokens, [category("emotion", LABELS.split())], "whisper", "en")
    assert tokenizer.size == tokens.size + len(LABELS.split())


@pytest.mark.parametrize("order", ORDERS)
def test_the_real_tokenizer_is_saved_and_loaded(tokens, tmp_path, order):
    saved = Tokenizer(tokens, tasks_of(order), "whisper", "en")
    saved.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for text in TEXTS:
        values = {"asr": text, "gender": "male", "emotion": "happy"}
        assert loaded.encode(values) == saved.encode(values)
        assert loaded.decode_text(loaded.encode(values)[0]) == text


@pytest.fixture(scope="module")
def real_tiny(tmp_path_factory):
    directory = tmp_path_factory.mktemp("real") / "tiny"
    subprocess.run([sys.executable, Path(ASSETS) / "make_whisper.py", "tiny", directory], check=True)
    return directory


def test_a_directory_of_a_real_model_gives_the_tokenizer_with_the_models_size(real_tiny):
    tokens = from_whisper(str(real_tiny), "de")
    assert (tokens.prefix, tokens.size) == ([50258, 50261, 50359, 50363], 51865)


@torch.no_grad()
def test_with_real_weights_the_encoder_padded_to_30_s_is_that_of_transformers(real_tiny):
    encoder = load_whisper(ModelConfig(whisper_model=str(real_tiny))).encoder.eval()
    wave = sound(50_000, seed=0)
    mel_BFN, frames_B = LogMel(80, PadRule.parse("30s"))(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    states_BTD, _ = encode(encoder, mel_BFN, frames_B)
    features = WhisperFeatureExtractor()(wave, sampling_rate=16000, return_tensors="pt").input_features
    expected_BTD = encoder(features).last_hidden_state
    assert expected_BTD.abs().max() > 1
    torch.testing.assert_close(states_BTD, expected_BTD, atol=2e-3, rtol=0)


def test_the_exported_tokenizer_keeps_the_vocabulary_and_has_the_labels_behind_it(tokens):
    tokenizer = Tokenizer(tokens, tasks_of(ORDERS[0]), "whisper", "en")
    hf = to_hf_tokenizer(tokenizer)
    assert len(hf) == tokenizer.size
    assert hf.convert_tokens_to_ids("<|male|>") == tokens.size + 1
    for text in TEXTS:
        ids = tokens.encode(text)
        assert hf.decode([*tokenizer.prefix, *ids, tokens.size], skip_special_tokens=True).strip() == tokens.decode(ids)
