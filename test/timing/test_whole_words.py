"""Word times of a whole pretrained Whisper on real speech.

WHISPER_ER_ASSETS=<directory with complete_whisper.py and corpora/> pytest test/timing/test_whole_words.py
"""

import numpy as np
import pytest
from assets import ASSETS, recordings
from repository import ROOT
from tiny_whisper import ASR

from whisper_er.audio.reading import load_audio, to_float
from whisper_er.base.settings import load
from whisper_er.config import TrainConfig
from whisper_er.data.collate import unlabelled
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.whisper_vocabulary import from_whisper
from whisper_er.timing.words import find_words

pytestmark = pytest.mark.skipif(not ASSETS, reason="WHISPER_ER_ASSETS is not set")
TOLERANCE = 0.3  # seconds
IDS = ("03a01Nc", "03a02Nc", "03a04Nc")


def test_every_word_ends_in_the_utterance_that_it_is_of(whole_whisper):
    """Three recordings with a second of faint noise between; attention alone, without what apart() knows of pauses: a
    word behind a pause may begin in it."""
    directory = whole_whisper("whisper-base")
    conf = ROOT / "egs/iemocap/ser1/conf/train_zero_shot.yaml"
    config = load(TrainConfig, conf, [f"model.whisper_model={directory}", "model.pad=none"])
    model = build_model(config, Tokenizer(from_whisper(str(directory), "de"), [ASR], "whisper", "de")).eval()
    lines = recordings("emodb", *IDS)
    parts, spans, start = [], [], 0.0
    noise = np.random.default_rng(0).normal(0, 1e-4, 16000).astype(np.float32)
    for line in lines:
        wave = to_float(load_audio(line["audio"], line["id"]))
        parts += [wave, noise]
        spans += [(start, start + len(wave) / 16000)] * len(line["text"].split())
        start += len(wave) / 16000 + 1
    batch = unlabelled([np.concatenate(parts[:-1])], model.tokenizer, model.max_target)
    text = " ".join(line["text"] for line in lines)
    (words,) = find_words(model, batch, [{"asr": text}], "")
    assert [word.text for word in words] == text.split()
    for (begin, end), word, after in zip(spans, words, [*words[1:], None]):
        assert begin - TOLERANCE <= word.end <= end + TOLERANCE
        assert word.start <= word.end and (after is None or word.end <= after.start)
