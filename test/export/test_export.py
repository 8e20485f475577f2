"""Stage 7: an experiment as a directory that transformers, our Recognizer and a script without our package open."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml
from tiny_experiment import call
from tiny_export import cut, features, learn, sounds, tokenizer_of, write_experiment
from tiny_whisper import ORDERS, batch_of, logits_of
from transformers import AutoTokenizer, GenerationConfig, WhisperForConditionalGeneration, pipeline

from whisper_er.audio.reading import load_audio
from whisper_er.base.errors import UserError
from whisper_er.bin import export, info
from whisper_er.config import DecodeConfig
from whisper_er.models.features import PadRule
from whisper_er.recognize.pretrained import open_model
from whisper_er.recognize.recognizer import Recognizer

PADS = ["none", "+1", "to 5", "30s"]
NO_PACKAGE = """
import contextlib, io, json, os, runpy, sys
from unittest import mock
from transformers import WhisperForConditionalGeneration as Whisper
sys.modules["whisper_er"] = None  # importing it is an error
plain, seen, said = Whisper.generate, [], []
def generate(self, features):
    seen.append([features.shape[2], 2 * self.model.encoder.embed_positions.num_embeddings])
    return plain(self, features)
for directory, snippet in json.load(sys.stdin):
    os.chdir(directory)
    with contextlib.redirect_stdout(io.StringIO()) as out, mock.patch.object(Whisper, "generate", generate):
        runpy.run_path(snippet)
    said.append([out.getvalue(), *seen.pop()])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def utterances(root):
    return sounds(root / "wav")


@pytest.fixture(scope="module")
def learned(whisper_tokens, bpe_tokens, utterances):
    """Models that know the utterances by heart, by token type and order of the tasks."""
    models = {}

    def get(token_type, order="asr gender emotion"):
        if (token_type, order) not in models:
            tokens = {"whisper": whisper_tokens, "bpe": bpe_tokens}[token_type]
            models[token_type, order] = learn(tokenizer_of((token_type, tokens), order), utterances)
        return models[token_type, order]

    return get


@pytest.fixture(scope="module")
def exported(root, learned):
    """(experiment, exported directory) by token type, pad rule and order; made once."""

    def get(token_type, pad="none", order="asr gender emotion"):
        exp_dir = root / f"{token_type} {pad} {order}"
        if not exp_dir.exists():
            call(export, "--exp_dir", write_experiment(exp_dir, learned(token_type, order), pad), "--out_dir",
                 exp_dir / "export")  # fmt: skip
        return exp_dir, exp_dir / "export"

    return get


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("token_type", ["whisper", "bpe"])
@torch.no_grad()
def test_plain_transformers_gives_our_logits(exported, utterances, token_type, pad):
    exp_dir, directory = exported(token_type, pad)
    ours = open_model(exp_dir)
    for utterance in utterances[:2]:
        batch = batch_of([utterance], ours.tokenizer)
        mel = features(load_audio(utterance.audio, "u"), pad)
        whisper = cut(WhisperForConditionalGeneration.from_pretrained(directory), mel.shape[2]).eval()
        theirs = whisper(input_features=mel, decoder_input_ids=batch.input_BL).logits
        expected = logits_of(ours.model, batch)
        assert expected.std() > 0.5  # else a small difference would be none
        torch.testing.assert_close(theirs, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("order", ORDERS)
def test_plain_generate_says_text_gender_and_emotion_whatever_their_order(exported, utterances, order):
    _, directory = exported("whisper", order=order)
    tokenizer = open_model(directory).tokenizer
    for utterance in utterances:
        mel = features(load_audio(utterance.audio, "u"), "none")
        whisper = cut(WhisperForConditionalGeneration.from_pretrained(directory), mel.shape[2])
        assert whisper.generate(mel)[0].tolist() == tokenizer.encode(utterance.values)[0][:-1]


def test_with_whispers_own_entry_for_timestamps_generate_would_lose_the_text(exported, utterances):
    """Why the generation config has none; if this fails, the test above shows nothing."""
    _, directory = exported("whisper", order="gender emotion asr")
    tokenizer = open_model(directory).tokenizer
    mel = features(load_audio(utterances[2].audio, "u"), "none")
    whisper = cut(WhisperForConditionalGeneration.from_pretrained(directory), mel.shape[2])
    whisper.generation_config.no_timestamps_token_id = tokenizer.prefix[-1]
    assert whisper.generate(mel)[0].tolist() != tokenizer.encode(utterances[2].values)[0][:-1]


def test_the_snippet_of_the_model_card_gives_our_text_and_labels_without_our_package(exported, utterances, tmp_path):
    runs, expected = [], []
    for token_type, pad in [("whisper", pad) for pad in PADS] + [("bpe", "none"), ("bpe", "30s")]:
        exp_dir, directory = exported(token_type, pad)
        _, snippet = re.findall("```python\n(.*?)```", (directory / "README.md").read_text(), re.DOTALL)
        assert '"a.wav"' in snippet and "whisper_er" not in snippet and len(snippet.splitlines()) <= 16
        recognizer = Recognizer.open(exp_dir)
        for number, utterance in enumerate(utterances[1:] if pad in ("none", "to 5") else utterances[:1]):
            path = tmp_path / f"{token_type} {pad} {number}.py"
            path.write_text(snippet.replace("a.wav", utterance.audio))
            runs.append([str(directory), str(path)])
            ((found,),) = recognizer.predict([batch_of([utterance], recognizer.tokenizer)], DecodeConfig())
            labels = [f"<|{found.values[task]}|>" for task in ("gender", "emotion")]
            frames = int(PadRule.parse(pad).frames(torch.tensor([utterance.num_samples])))
            expected.append([f"{found.values['asr']}\n{' '.join(labels)}\n", frames, frames])
    done = subprocess.run(
        [sys.executable, "-c", NO_PACKAGE], input=json.dumps(runs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
    assert len({said for said, *_ in expected}) >= 2 and len({frames for _, frames, _ in expected}) >= 5


def test_a_pipeline_gives_the_text_and_refuses_what_would_cost_the_labels(exported, utterances):
    """What the card says of transformers' pipeline, `language=`, `task=` and `return_timestamps=`."""
    _, directory = exported("whisper", "30s")
    assert "pipeline_tag: automatic-speech-recognition" in (directory / "README.md").read_text()
    wave = load_audio(utterances[0].audio, "u")
    asr = pipeline("automatic-speech-recognition", str(directory))
    assert asr(wave)["text"].strip() == Recognizer.open(directory)(utterances[0].audio).text != ""
    for options in ({"language": "en"}, {"task": "transcribe"}, {"return_timestamps": True}):
        with pytest.raises(ValueError, match="generation config"):
            asr(wave, generate_kwargs=options)
    with pytest.raises(AttributeError, match="_decode_asr"):
        pipeline("automatic-speech-recognition", str(exported("bpe", "30s")[1]))(wave)


@pytest.fixture(scope="module")
def german(root, whisper_tokens, utterances):
    """(experiment, exported directory) of a model that says one thing in English, another in German."""
    tokenizer = tokenizer_of(("whisper", whisper_tokens))
    both = [utterances[0], replace(utterances[0], language="de", values=utterances[2].values)]
    exp_dir = write_experiment(root / "german", learn(tokenizer, both), "30s")
    a_set = {"num_utterances": 2, "speakers": ["s"]}
    data = {"train_set": a_set | {"languages": {"de": 1, "en": 1}}, "valid_set": a_set}
    (exp_dir / "data.yaml").write_text(json.dumps(data))
    call(export, "--exp_dir", exp_dir, "--out_dir", exp_dir / "export")
    return exp_dir, exp_dir / "export"


def test_the_card_says_how_the_language_is_chosen_and_that_works(german, utterances, capsys):
    exp_dir, directory = german
    text = (directory / "README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["language"] == ["de", "en"]
    assert 'Recognizer.from_pretrained(".", language="de")' in text and "the prefix is that of `en`.\n" in text
    forced = {code: json.loads(ids) for code, ids in re.findall(r"^\| (de|en) +\| +1 \| `(.*)` ", text, re.MULTILINE)}
    assert forced["en"] == GenerationConfig.from_pretrained(directory).forced_decoder_ids
    whisper, hf_tokenizer = (
        kind.from_pretrained(directory) for kind in (WhisperForConditionalGeneration, AutoTokenizer)
    )
    asr = pipeline("automatic-speech-recognition", str(directory))
    wave = load_audio(utterances[0].audio, "u")
    said = {}
    for language, ids in forced.items():
        ours = Recognizer.from_pretrained(directory, language=language)(wave, sampling_rate=16000)
        said[language] = ours.text
        assert asr(wave, generate_kwargs={"forced_decoder_ids": ids})["text"].strip() == ours.text
        tokens = hf_tokenizer.convert_ids_to_tokens(whisper.generate(features(wave, "30s"), forced_decoder_ids=ids)[0])
        assert tokens[-2:] == [f"<|{ours.labels[task]}|>" for task in ("gender", "emotion")]
    assert said == {"en": "good", "de": "sad day"}
    info.show(str(exp_dir))
    assert "trained with prefixes in several languages: de 1, en 1 utterances" in capsys.readouterr().out


def test_without_text_the_snippet_prints_labels_alone(whisper_tokens, utterances, tmp_path):
    model = learn(tokenizer_of(("whisper", whisper_tokens), "emotion"), utterances, steps=1)
    call(export, "--exp_dir", write_experiment(tmp_path / "exp", model), "--out_dir", tmp_path / "export")
    assert "skip_special_tokens" not in (tmp_path / "export/README.md").read_text()


@pytest.mark.parametrize("token_type", ["whisper", "bpe"])
def test_an_exported_model_is_bit_for_bit_the_one_that_was_trained(exported, utterances, token_type):
    exp_dir, directory = exported(token_type, "+1")
    trained, again = open_model(exp_dir), open_model(directory)
    assert trained.model.state_dict().keys() == again.model.state_dict().keys()
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert again.config.model.pad == "+1"
    batch = batch_of(utterances, trained.tokenizer)
    for one, two in zip(*(Recognizer.open(path).predict([batch], DecodeConfig()) for path in (exp_dir, directory))):
        assert one == two


def test_a_model_in_shards_and_in_half_precision_opens_as_well(exported, tmp_path):
    exp_dir, directory = exported("bpe")
    whisper = WhisperForConditionalGeneration.from_pretrained(directory).half()
    whisper.save_pretrained(tmp_path, max_shard_size="40KB")
    for name in ("whisper_er.json", "token_list"):
        (tmp_path / name).symlink_to(directory / name)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for name, tensor in open_model(tmp_path).model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, open_model(exp_dir).model.state_dict()[name].half().float())


def test_a_directory_that_is_none_of_ours_is_not_replaced(exported, tmp_path):
    exp_dir, directory = exported("bpe")
    for name in ("config.json", "model.bin", "text"):  # of a model of somebody's; of a data directory
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match="exists and is something else"):
        call(export, "--exp_dir", exp_dir, "--out_dir", tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(UserError, match="is exported already"):
        call(export, "--exp_dir", directory, "--out_dir", tmp_path / "again")


def test_nothing_in_it_names_a_directory_of_this_machine(exported, root):
    for token_type in ("whisper", "bpe"):
        _, directory = exported(token_type)
        for path in directory.rglob("*"):
            assert path.is_dir() or str(root.parent).encode() not in path.read_bytes(), path


def test_the_generation_config_suppresses_nothing_and_knows_no_timestamps(exported):
    _, directory = exported("whisper")
    values = json.loads((directory / "generation_config.json").read_text())
    tokenizer = open_model(directory).tokenizer
    assert values["forced_decoder_ids"] == [[n, index] for n, index in enumerate(tokenizer.prefix) if n]
    assert values["num_beams"] == 4
    for kind in ("generation_config.json", "config.json"):
        values = json.loads((directory / kind).read_text())
        assert not values.get("suppress_tokens") and not values.get("begin_suppress_tokens")
        assert "no_timestamps_token_id" not in values and "_name_or_path" not in values
