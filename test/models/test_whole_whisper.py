"""Whole pretrained Whispers, from checkpoint to export, against transformers and CTranslate2.

WHISPER_ER_ASSETS=<directory with complete_whisper.py and corpora/> pytest test/models/test_whole_whisper.py

Nothing here depends on what a few steps of training happen to teach: what is compared are posteriors of the same text.
The recordings of the first test are some of which whisper-base is sure, so that no two hypotheses are nearly equal.
"""

import csv
import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from assets import ASSETS, recordings
from guide import Reader
from repository import ROOT
from tiny_export import cut, features
from tiny_whisper import ASR, EMOTION, GENDER
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from whisper_er.audio.reading import load_audio
from whisper_er.base.settings import load
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.collate import unlabelled
from whisper_er.models.build import build_model
from whisper_er.models.decoder import cross_attention_inputs, decode
from whisper_er.models.seq2seq import WhisperER
from whisper_er.recognize.pretrained import open_model
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.whisper_vocabulary import from_whisper

pytestmark = pytest.mark.skipif(not ASSETS, reason="WHISPER_ER_ASSETS is not set")
CONF = ROOT / "egs/iemocap/ser1/conf"
HAS_CTRANSLATE2 = importlib.util.find_spec("ctranslate2") is not None
LABELS = ("01", "03", "05")  # of RAVDESS: neutral, happy, angry
ACTORS = ("01", "02", "03", "04", "05")
SHORT = "max_steps=2 valid_interval=2 n_best=1 batch_size=3 log_interval=1 num_workers=0"


@pytest.mark.parametrize(
    "kind, lang, corpus, utt_ids, prefix",
    [
        ("whisper-base", "de", "emodb", ["03a01Nc"], [50258, 50261, 50359, 50363]),
        ("whisper-base", "en", "ravdess", ["03-01-01-01-01-01-01"], [50258, 50259, 50359, 50363]),
        ("whisper-tiny.en", "en", "ravdess", ["03-01-01-01-01-01-01", "03-01-01-01-02-01-01"], [50257, 50362]),
    ],
)
@torch.no_grad()
def test_zero_shot_transcripts_and_logits_are_those_of_transformers(whole_whisper, kind, lang, corpus, utt_ids, prefix):
    directory = whole_whisper(kind)
    tokenizer = Tokenizer(from_whisper(str(directory), lang), [ASR], "whisper", lang)
    assert tokenizer.prefix == prefix
    config = load(TrainConfig, CONF / "train_zero_shot.yaml", [f"model.whisper_model={directory}"])
    model = build_model(config, tokenizer).eval()
    theirs = WhisperForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()
    lines = recordings(corpus, *utt_ids)
    waves = [load_audio(line["audio"], line["id"]) for line in lines]
    batch = unlabelled(waves, tokenizer, model.max_target)
    mel_BFN = WhisperFeatureExtractor()(waves, sampling_rate=16000, return_tensors="pt").input_features

    states_BTD, mask_BT = model.encode(batch)
    spoken = torch.tensor([[*tokenizer.prefix, *tokenizer.text.encode(lines[0]["text"])]] * len(lines))
    ours = model.logits(decode(model.decoder, spoken, cross_attention_inputs(model.decoder, states_BTD, mask_BT))[0])
    encoded = theirs.model.encoder(mel_BFN)
    expected = theirs(encoder_outputs=encoded, decoder_input_ids=spoken).logits
    assert expected.std() > 1
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)

    found = model.predict(batch, load(DecodeConfig, CONF / "decode_zero_shot.yaml"), (states_BTD, mask_BT))
    language = {"language": lang, "task": "transcribe"} if tokenizer.text.multilingual else {}
    generated = theirs.generate(mel_BFN, num_beams=4, **language)
    texts = [tokenizer.decode_text(ids) for ids in generated.tolist()]
    assert [item.values["asr"] for item in found] == texts
    assert texts == [line["text"] for line in lines]


def test_the_search_of_fixed_shapes_finds_what_the_search_with_the_growing_cache_finds(whole_whisper, monkeypatch):
    directory = whole_whisper("whisper-base")
    tokenizer = Tokenizer(from_whisper(str(directory), "de"), [ASR, GENDER, EMOTION], "whisper", "de")
    options = [f"model.whisper_model={directory}", "model.pad=none"]
    model = build_model(load(TrainConfig, CONF / "train_zero_shot.yaml", options), tokenizer).eval()
    lines = recordings("emodb", "03a01Nc", "08a01Na", "09a01Nb", "03a02Nc", "08a02Na", "10a02Na", "11a02Nc", "03b01Nb")
    batch = unlabelled([load_audio(line["audio"], line["id"]) for line in lines], tokenizer, model.max_target)
    monkeypatch.setattr(WhisperER, "by_graphs", lambda self, config, device: config.graphs == "auto")
    expected, found = (
        model.predict(batch, DecodeConfig(beam_size=2, maxlenratio=0.1, graphs=graphs)) for graphs in ("off", "auto")
    )
    for one, other in zip(expected, found, strict=True):
        assert other.values == one.values and other.values["asr"]
        assert other.score == pytest.approx(one.score, abs=1e-5)
        for task, posterior in one.posteriors.items():
            assert other.posteriors[task] == pytest.approx(posterior, abs=1e-4)


def write_corpus(directory: Path) -> None:
    """Three recordings of each of five actors, and their labels in a CSV."""
    (directory / "wav").mkdir(parents=True)
    rows = recordings("ravdess", *(f"03-01-{label}-01-01-01-{actor}" for actor in ACTORS for label in LABELS))
    for row in rows:
        shutil.copy(row["audio"], directory / "wav")
    with open(directory / "labels.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "speaker", "emotion", "gender", "transcript"])
        table.writerows(
            [Path(row["audio"]).name, row["speaker"], row["emotion"], row["gender"], row["text"]] for row in rows
        )


@pytest.fixture(scope="module")
def recipe(whole_whisper, tmp_path_factory, warm_python):
    """The recipe of the guide after the command that fine-tunes whisper-base, with few steps, one fold and an export.

    Removed in the end: a training state and four copies of the model are 2 GB.
    """
    directory = whole_whisper("whisper-base")
    root = tmp_path_factory.mktemp("guide")
    reader = Reader(root, write_corpus, warm_python)
    reader.follow("Make the recipe")
    reader.follow("Write local/data.sh")
    allow_all = len(LABELS)  # CTranslate2 may say anything: after two steps its plain beam finds no labels
    export = f"--ctranslate2 float32 --ctranslate2_allow_different {allow_all}" if HAS_CTRANSLATE2 else ""
    options = f'--ngpu 0 --gpu_inference false --nj 1 --folds 1 --ser_tag whole --ser_args "{SHORT}"'

    def shortened(text: str) -> str:
        (command,) = [line for line in text.splitlines() if "--whisper_model openai/whisper-base" in line]
        command = command.replace("openai/whisper-base", str(directory))
        decoding = '--inference_tag short --inference_args "beam_size=2 maxlenratio=0.1"'
        return f"{command} {options} {decoding} --skip_export false {export}"

    assert "emotion UA" in reader.follow("Run", shortened)
    yield reader.recipe
    shutil.rmtree(root)


def test_the_guide_leads_from_a_csv_to_a_fine_tuned_whisper_base_and_its_exports(recipe):
    fold = recipe / "exp/whole/fold1"
    assert "step 2/2" in (fold / "train.log").read_text()
    assert "exp/whole" in (recipe / "exp/whole/RESULTS.md").read_text() and (recipe / "exp/whole/report.html").is_file()
    hypotheses = kaldi.read_dir(fold / "decode_short/test")
    assert len(hypotheses["utt2emotion"]) == len(LABELS)
    assert "fine-tuned from `whisper-base`" in (fold / "export/README.md").read_text()
    assert (fold / "export_ctranslate2/check.json").is_file() or not HAS_CTRANSLATE2


@torch.no_grad()
def test_the_exported_whisper_base_gives_our_posteriors_in_transformers_and_in_ctranslate2(recipe):
    fold = recipe / "exp/whole/fold1"
    model, tokenizer = (opened := open_model(fold)).model.eval(), opened.model.tokenizer
    converted = open_model(fold / "export_ctranslate2").model if HAS_CTRANSLATE2 else None
    for utt_id, path in kaldi.read_table(recipe / "dump/fold1/test/wav.scp").items():
        wave = load_audio(str(recipe / path), utt_id)
        batch = unlabelled([wave], tokenizer, model.max_target)
        (said,) = model.answer(batch, DecodeConfig(beam_size=2, maxlenratio=0.1)).read(tokenizer.end)
        label_ids = {k: ids for k, ids in enumerate(tokenizer.task_ids) if ids}
        assert list(said.best) == list(label_ids)

        mel_BFN = features(wave, "none")
        whisper = cut(WhisperForConditionalGeneration.from_pretrained(fold / "export"), mel_BFN.shape[2]).eval()
        inputs = torch.tensor([[*tokenizer.prefix, *said.ids]])
        logits_LV = whisper(input_features=mel_BFN, decoder_input_ids=inputs).logits[0, len(tokenizer.prefix) - 1 :]
        for k, ids in label_ids.items():
            (position,) = [position for position, index in enumerate(said.ids) if index in ids]
            probabilities = logits_LV[position, ids].softmax(-1)
            torch.testing.assert_close(said.best[k].exp(), probabilities, atol=5e-3, rtol=0)

        if converted:
            import ctranslate2

            from whisper_er.recognize.ctranslate2_engine import prompt_of

            encoded = converted.engine.encode(ctranslate2.StorageView.from_array(mel_BFN.contiguous().numpy()))
            (logits,) = converted.logits_along(encoded, prompt_of(converted.tokenizer), [said.ids])
            posteriors = converted.posteriors(said.ids, logits)
            for k in label_ids:
                torch.testing.assert_close(said.best[k].exp(), posteriors[k].exp(), atol=5e-3, rtol=0)
