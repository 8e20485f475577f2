"""README.md of an exported model, of an experiment that was trained, decoded and scored."""

import os
import re
import shutil

import pytest
import yaml
from repository import EGS
from tiny_experiment import call, decode_arguments, train_and_average, write_corpus
from tiny_whisper import tasks_of

from whisper_er.base.errors import UserError
from whisper_er.bin import decode, export, score
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.data.kaldi import read_table, write_table
from whisper_er.data.text_sources import TEXT_SOURCE
from whisper_er.export.data_card import read_data_card
from whisper_er.export.model_card import NOT_STATED, history, hub_header
from whisper_er.text.tokenizer import Tokenizer

CARD = {"corpus": "Beeps: 2026", "url": "https://example.org", "licence": "CC0; free", "limits": "beeps only"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_corpus(tmp_path_factory.mktemp("card") / "corpus")
    exp_dir = train_and_average(root, root / "exp/tag/fold1", "max_steps=2", "valid_interval=2")
    call(export, "--exp_dir", exp_dir, "--out_dir", root / "unscored")
    hyp = exp_dir / "decode_default/test"
    call(decode, *decode_arguments(root, exp_dir, hyp))
    call(score, "--ref_dir", root / "test", "--hyp_dir", hyp, "--tasks", "asr gender emotion", "--exp_dir", exp_dir,
         "--out", hyp / "score/result.json")  # fmt: skip
    (root / "data_card.yaml").write_text(yaml.safe_dump(CARD))
    call(export, "--exp_dir", exp_dir, "--out_dir", root / "scored", "--data_card", root / "data_card.yaml")
    return root


def card(directory) -> tuple[dict, str]:
    """Its YAML and its text."""
    _, header, text = (directory / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


def test_the_scores_are_those_of_result_json_with_their_intervals(root):
    from whisper_er.score.results import read_result

    figures = read_result(root / "exp/tag/fold1/decode_default/test/score/result.json").score.tasks
    header, text = card(root / "scored")
    assert f"{100 * figures['emotion'].ua:.1f}" in text.split("| all ")[1]
    interval = figures["emotion"].intervals["utterance"]["ua"]
    assert f"{100 * interval.low:.1f} to {100 * interval.high:.1f}" in text and "95 % bootstrap intervals" in text
    metrics = {
        metric["name"]: metric["value"] for entry in header["model-index"][0]["results"] for metric in entry["metrics"]
    }
    assert metrics["emotion UA"] == round(figures["emotion"].ua, 4)
    assert metrics["asr WER"] == round(figures["asr"].wer, 4)


def test_the_scores_of_other_weights_are_left_out(root, tmp_path, capsys):
    exp_dir = shutil.copytree(root / "exp/tag/fold1", tmp_path / "fold1", symlinks=True)
    result = exp_dir / "decode_default/test/score/result.json"
    checkpoint = next((exp_dir / "checkpoints").glob("*.safetensors")).relative_to(exp_dir)
    call(export, "--exp_dir", exp_dir, "--out_dir", tmp_path / "checkpoint", "--model", checkpoint)
    os.utime(result, (1, 1))  # older than the weights
    call(export, "--exp_dir", exp_dir, "--out_dir", tmp_path / "older")
    assert capsys.readouterr().out.count(f"{result}: not of ") == 2
    for directory in ("checkpoint", "older"):
        header, text = card(tmp_path / directory)
        assert "model-index" not in header and "None: it was exported before it was scored." in text


def test_a_wer_against_transcripts_of_a_recogniser_is_no_figure_of_the_header(root, tmp_path):
    exp_dir = shutil.copytree(root / "exp/tag/fold1", tmp_path / "fold1", symlinks=True)
    utt2spk = read_table(root / "test/utt2spk")
    test = shutil.copytree(root / "test", tmp_path / "test")
    write_table(test / TEXT_SOURCE, dict.fromkeys(utt2spk, "whisper-base_zero-shot"))
    hyp = exp_dir / "decode_default/test"
    call(score, "--ref_dir", test, "--hyp_dir", hyp, "--tasks", "asr gender emotion", "--exp_dir", exp_dir,
         "--out", hyp / "score/result.json")  # fmt: skip
    call(export, "--exp_dir", exp_dir, "--out_dir", tmp_path / "out")
    header, text = card(tmp_path / "out")
    entries = header["model-index"][0]["results"]
    assert [entry["task"]["name"] for entry in entries] == ["gender", "emotion"]
    assert "not against human transcripts" in text


@pytest.mark.parametrize("base, options, said", [
    ("", {}, "trained from scratch"), ("openai/whisper-base", {}, "fine-tuned from `openai/whisper-base`"),
    ("b", {"model": ModelConfig(decoder_init="all")}, "fine-tuned from `b`, the decoder trained from scratch"),
    ("b", {"model": ModelConfig(decoder_init="layers")},
     "fine-tuned from `b`, the decoder's layers trained from scratch"),
    ("", {"max_steps": 0}, "not trained"), ("b", {"max_steps": 0}, "as it is in `b`, with new tokens and not trained"),
])  # fmt: skip
def test_what_happened_to_the_weights_is_said(base, options, said):
    assert history(TrainConfig(**options), base) == said


def test_a_model_is_named_as_on_the_hub_and_never_by_a_path():
    cached = "/home/me/.cache/huggingface/hub/models--openai--whisper-base/snapshots/e37978b90ca9"
    names = ["openai/whisper-base", cached, "/models/my-whisper", "../my-whisper", ""]
    assert [export.start_of(name) for name in names] == ["openai/whisper-base"] * 2 + ["my-whisper"] * 2 + [""]


def test_protocol_and_decoding_are_in_it(root):
    _, text = card(root / "scored")
    assert "trained on 11 utterances of 1 speakers; model selected by valid_emotion_accuracy on 3 utterances" in text
    assert "decoding: model `valid_emotion_accuracy.ave_1best.safetensors`, beam_size `2`" in text
    assert "# tag fold1" in text


def test_the_hub_can_read_its_header(root):
    header, _ = card(root / "scored")
    assert header["library_name"] == "transformers" and header["license"] == "other" and header["language"] == ["en"]
    assert {"asr", "gender", "emotion", "speech-emotion-recognition"} <= set(header["tags"])
    assert header["model-index"][0]["results"][0]["dataset"] == {"name": "Beeps: 2026", "type": "beeps--2026",
                                                                "split": "test"}  # fmt: skip


def test_the_pipeline_of_the_header_is_one_that_transformers_opens(root, whisper_tokens, bpe_tokens):
    assert "pipeline_tag" not in card(root / "scored")[0]  # SentencePiece, which no pipeline reads
    tags = {
        (kind, order): hub_header(Tokenizer(tokens, tasks_of(order), kind, "en"), "transformers").get("pipeline_tag")
        for kind, tokens in (("whisper", whisper_tokens), ("bpe", bpe_tokens)) for order in ("asr emotion", "emotion")
    }  # fmt: skip
    assert tags == dict.fromkeys(tags) | {("whisper", "asr emotion"): "automatic-speech-recognition"}
    asr = Tokenizer(whisper_tokens, tasks_of("asr emotion"), "whisper", "en")
    assert "pipeline_tag" not in hub_header(asr, "ctranslate2")  # which transformers cannot open


def test_corpus_licence_and_limits_come_from_the_recipe(root):
    _, text = card(root / "scored")
    assert "Corpus: Beeps: 2026 <https://example.org>" in text
    assert "Licence of the data: CC0; free" in text and "Limits: beeps only" in text
    assert "Intended use: Research on speech emotion" in text and "Not for decisions about people" in text


def test_what_was_not_stated_is_said_to_be_so(root):
    _, text = card(root / "unscored")
    assert f"Licence of the data: {NOT_STATED}" in text and f"Corpus: {NOT_STATED}" in text
    assert "None: it was exported before it was scored." in text


def test_tasks_and_tokens_are_listed(root):
    _, text = card(root / "scored")
    assert re.search(r"\| emotion +\| +category +\| +happy, sad \|", text)
    assert "`<|happy|>` `<|sad|>`" in text and "no silence is added" in text


def test_no_path_of_this_machine_is_in_it(root):
    for name in ("scored", "unscored"):
        assert str(root.parent) not in (root / name / "README.md").read_text()


@pytest.mark.parametrize("recipe", ["TEMPLATE", "mini_emo", "emodb", "ravdess", "iemocap"])
def test_every_recipe_has_a_data_card(recipe):
    found = read_data_card(EGS / recipe / "ser1/conf/data_card.yaml")
    assert bool(found.corpus and found.licence and found.limits and found.intended_use) == (recipe != "TEMPLATE")


def test_a_data_card_that_is_missing_or_has_other_keys_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file; write it"):
        read_data_card(tmp_path / "data_card.yaml")
    (tmp_path / "data_card.yaml").write_text("license: CC0\n")
    with pytest.raises(UserError, match="unknown key 'license'; did you mean 'licence'"):
        read_data_card(tmp_path / "data_card.yaml")
