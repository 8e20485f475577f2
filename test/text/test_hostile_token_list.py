"""Stage 2 and what it writes: labels, tasks, scales and vocabularies of any content make a token list or one line."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from entry_point import error_of
from hostile import attempt, cases, offer_anything, offer_pickles, spoil
from hypothesis import given
from hypothesis import strategies as st
from tiny_experiment import SIZES, token_list_arguments

from whisper_er.base import hub
from whisper_er.base.errors import UserError
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.models.build import build_model, load_whisper
from whisper_er.task import Task, category, scale
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.text.whisper_vocabulary import from_whisper

OPTIONS = [
    (["--bpe_size", "5000"], ["bpe_size=5000", "SentencePiece"]),
    (["--bpe_size", "1"], ["bpe_size=1:", "SentencePiece"]),
    (["--token_type", "whisper"], ["whisper_model"]),
    (["--tasks", "asr asr"], ["asr asr"]),
    (["--tasks", ""], ["at least one task"]),
    (["--tasks", "asr valence"], ["utt2valence: no such file"]),
    (["--scales", "gender"], ["'gender'", "name=low:high:bins"]),
    (["--scales", "gender=1:5"], ["'gender=1:5'", "name=low:high:bins"]),
    (["--scales", "gender=1:5:many"], ["gender=1:5:many", "name=low:high:bins"]),
    (["--scales", "gender=5:1:9"], ["gender=5:1:9", "low < high"]),
    (["--scales", "gender=1:5:1"], ["gender=1:5:1", "2 bins"]),
    (["--scales", "valence=1:5:9"], ["'valence' is not among the tasks"]),
    *(([f"--tasks={name}"], [name]) for name in ("../x", "a/b", "$(touch${IFS}marker)", "-x", "a;b", "~", "%s", "e.f")),
]
SPEAKERS = {f"{name}/utt2speaker": {f"{name}-{i:02d}": f"{name}-speaker{i % 2 or ''}" for i in range(size)}
            for name, size in SIZES.items()}  # fmt: skip
VALENCE = {"train/utt2valence": {f"train-{i:02d}": "3" for i in range(SIZES["train"])}
           | {"train-00": "4.5", "train-01": ""}}  # fmt: skip
CHECK_TRAIN = ["--tasks", "valence", "--check_sets", "{root}/train"]
CHECK_ALL = ["--tasks", "speaker", "--check_sets", "{root}/train", "{root}/valid", "{root}/test"]
LABELS = [
    (SPEAKERS, CHECK_ALL, ["{root}/valid: valid-00: utt2speaker: 'valid-speaker'", "the labels of {root}/train",
                           "change the folds", "--allow_shared_speakers true"]),
    (VALENCE, CHECK_TRAIN, ["utt2valence: its labels are numbers such as 4.5", "--scales valence=low:high:bins"]),
    (VALENCE, [*CHECK_TRAIN, "--scales", "valence=1:4:4"],
     ["train-00: utt2valence: 4.5 lies outside the scale 1..4", "--scales has to span them"]),
    *(({"train/utt2emotion": {"train-03": f"x{label}y"}}, [], ["utt2emotion: the label"])
      for label in ("a\x1b[31m", "a\u2028b", "<|endoftext|>", "\x00")),
    ({"train/utt2emotion": {"train-03": "sad\u200b"}}, [], ["{root}/train/utt2emotion: 'sad' and 'sad\\u200b' differ"]),
    ({"train/utt2emotion": {"train-03": "NaN"}}, [], ["utt2emotion: the label 'NaN'", "the id is alone on its line"]),
    ({"train/utt2emotion": {f"train-{i:02d}": "sad" for i in range(SIZES["train"])}}, [],
     ["utt2emotion: every label of the training set is 'sad'", "leave 'emotion' out of the tasks"]),
    ({"valid/utt2emotion": {"valid-00": "Sad", "valid-01": "", "valid-02": ""}}, ["--check_sets", "{root}/valid"],
     ["valid-00: utt2emotion: 'Sad' is not in the token list ('Sad' and 'sad' differ in nothing but case)"]),
]  # fmt: skip


@pytest.mark.parametrize("options, parts", OPTIONS, ids=[" ".join(words) for words, _ in OPTIONS])
def test_a_token_list_that_cannot_be_made_is_explained(refused, options, parts):
    refused(("token_list", {}, options, parts))


@pytest.mark.parametrize("files, options, parts", LABELS, ids=[parts[0] for *_, parts in LABELS])
def test_labels_that_the_list_cannot_hold_are_named_with_what_to_change(refused, files, options, parts):
    refused(("token_list", files, options, parts))


@pytest.mark.parametrize("name", ["no/such/directory", "empty"])
def test_a_whisper_model_that_is_no_model_is_named(root, refused, name):
    (root / "empty").mkdir()
    model = ["--whisper_model", f"{{root}}/{name}"]
    refused(("train", {}, [*model, "model.whisper_sizes={}"], [f"{{root}}/{name}"]))
    refused(("token_list", {}, ["--token_type", "whisper", *model], [f"{{root}}/{name}"]))


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 9\n"
MODELS = {
    "a checkpoint of transformers' Trainer": (
        {"tokenizer*": None}, ["has no tokenizer.json or vocab.json and merges.txt", "AutoProcessor.from_pretrained("]),
    "only the options of a tokenizer": ({"tokenizer.json": None}, ["has no tokenizer.json or vocab.json"]),
    "pointers of Git LFS": ({"tokenizer.json": LFS}, ["pointers of Git LFS", "tokenizer.json", "git lfs pull"]),
    "an adapter": ({"*.safetensors": None, "adapter_config.json": "{}"}, ["is an adapter", "merge_and_unload()"]),
    "checkpoints below it": ({"*": None, "checkpoint-9/config.json": "{}"}, ["models are in it", "/checkpoint-9"]),
    "an experiment": ({"*": None, "backbone_config.json": "{}"}, ["is an experiment of ours", "stage 7"]),
    "nothing": ({"*": None}, ["is empty"]),
    "half a generation config": (
        {"generation_config.json": '{"is_multilingual": fal'}, ["generation_config.json is not", "English-only"]),
    "a generation config of no language": (
        {"generation_config.json": '{"is_multilingual": "no"}'}, ["'is_multilingual' is 'no', expected bool"]),
    "suppressed tokens by name": (
        {"generation_config.json": '{"suppress_tokens": ["a"]}'}, ["item 1 of 'suppress_tokens' is 'a'"]),
    "another model": ({"config.json": '{"model_type": "bert"}'}, ["is a bert model; give a Whisper model"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_directory_lacks_is_named_with_where_to_get_it(whisper_directory, tmp_path, name):
    files, parts = MODELS[name]
    spoil(shutil.copytree(whisper_directory, tmp_path / "model"), files)
    with pytest.raises(UserError) as error:
        from_whisper(str(tmp_path / "model"), "en")
    assert [part for part in [f"whisper_model '{tmp_path}/model'", *parts] if part not in str(error.value)] == []


def test_weights_of_another_framework_may_be_pointers(whisper_directory, tmp_path):
    spoil(shutil.copytree(whisper_directory, tmp_path / "model"), {"tf_model.h5": LFS})
    config = ModelConfig(whisper_model=str(tmp_path / "model"))
    load_whisper(config)
    spoil(tmp_path / "model", {"model.safetensors": LFS})
    with pytest.raises(UserError, match="pointers of Git LFS in place of model.safetensors, tf_model.h5"):
        load_whisper(config)


def test_a_file_in_place_of_a_model_directory_is_named_and_the_hub_not_asked(whisper_directory, monkeypatch):
    monkeypatch.setattr(hub, "is_local", None)
    for option, more in (("whisper_model", {}), ("encoder_model", {"kind": "encoder_classifier"})):
        model = ModelConfig(**{option: f"{whisper_directory}/model.safetensors"}, **more)
        with pytest.raises(UserError, match=f"{option} '.*' is a file; give the directory"):
            build_model(TrainConfig(model=model), None)


def test_an_unreachable_hub_is_given_up_in_seconds(root):
    start = time.monotonic()
    model = "no-such-organisation/no-such-model"
    more = ["--token_type", "whisper", "--whisper_model", model, "--out_dir", root / "new"]
    line = error_of("token_list", *token_list_arguments(root, *more))
    assert f"whisper_model '{model}' cannot be loaded" in line and "give a directory" in line
    assert time.monotonic() - start < 40
    assert not (root / "new").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "a b", ".", "a\n"])
def test_a_task_s_name_is_no_path(name):
    with pytest.raises(UserError, match="its name may hold"):
        Task(name, "text")


@pytest.mark.parametrize("low, high, bins", [(-np.inf, np.inf, 3), (0, np.inf, 3), (np.nan, 1, 3), (0, 1, 10**12)])
def test_a_scale_without_ends_or_with_endless_bins_is_refused(low, high, bins):
    with pytest.raises(UserError, match="scale valence="):
        scale("valence", low, high, bins)


odd = st.text(max_size=6) | st.sampled_from(["sad", "e\u0301", "\u05d0\u05d1", "$(id)", "<|x|>", "\x1b"])


@cases(150)
@given(st.lists(odd, max_size=4))
def test_labels_of_any_characters_come_back_as_they_were_or_are_refused(exp, labels):
    if task := attempt(category, "mood", labels):
        directory = exp / "labels"
        directory.mkdir(exist_ok=True)
        whole = load_tokenizer(exp / "token_list")
        (directory / "bpe.model").write_bytes(whole.text.model)
        type(whole)(whole.text, [task], "bpe", "en").save(directory)
        assert load_tokenizer(directory).tasks == (task,)


FILES = ["token_list.yaml", "bpe.model"]


def read(path: Path) -> None:
    load_tokenizer(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_any_content_of_its_files_is_read_or_refused_in_one_line_that_names_the_file(exp, name):
    offer_anything(exp / "token_list" / name, read)


@pytest.mark.parametrize("name", FILES)
def test_a_pickle_in_place_of_its_files_is_not_run(exp, tmp_path, name):
    offer_pickles(exp / "token_list" / name, read, tmp_path)
