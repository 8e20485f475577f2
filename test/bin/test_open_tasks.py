"""A task whose test speakers nobody was trained on, declared open, from the token list to the model card."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from refusals import error_line
from tiny_experiment import SIZES, call, change, decode_arguments, token_list_arguments, train_arguments

from whisper_er.base.settings import load
from whisper_er.bin import average, decode, export, results, score, token_list, train
from whisper_er.config import TrainConfig
from whisper_er.data.collate import collate
from whisper_er.data.kaldi import read_table, write_table
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import load_tokenizer

TASKS = "asr speaker emotion"
OPEN = ("--tasks", TASKS, "--open_tasks", "speaker")
TEST_IDS = [f"test-{number:02d}" for number in range(SIZES["test"])]


@pytest.fixture
def root(corpus, tmp_path) -> Path:
    """The sets of the corpus, each of one speaker of its own, and a token list in which speaker is open."""
    for name in SIZES:
        shutil.copytree(corpus / name, tmp_path / name)
    for name in ("train.yaml", "decode.yaml"):
        shutil.copy(corpus / name, tmp_path / name)
    change(tmp_path / "train", "utt2spk", train_00="other-speaker")
    call(token_list, *token_list_arguments(tmp_path, *OPEN))
    return tmp_path


def unseen(number: int, name: str) -> str:
    share = f"{number} of {SIZES[name]} utterances have a label that training lacks: unlabelled"
    return f"{name}: speaker: {share} ({name}-speaker)"


def test_where_every_speaker_is_unknown_all_else_is_trained_scored_and_reported(root, no_git, capsys):
    exp, hyp = root / "exp", root / "exp/decode_x/test"
    sets = [root / name for name in SIZES]
    call(token_list, *token_list_arguments(root, *OPEN, "--check_sets", *sets))
    said = capsys.readouterr().out
    assert unseen(3, "valid") in said and unseen(4, "test") in said and "train: speaker" not in said
    call(train, *train_arguments(root, exp, "max_steps=2"))
    said = capsys.readouterr().out
    assert unseen(3, "valid") in said and "speaker nan emotion" in said
    call(average, "--exp_dir", exp)
    call(decode, *decode_arguments(root, exp, hyp))
    assert set(read_table(hyp / "utt2speaker").values()) <= {"other-speaker", "train-speaker"}
    call(score, "--ref_dir", root / "test", "--hyp_dir", hyp, "--tasks", TASKS, "--exp_dir", exp, "--out",
         hyp / "score/result.json")  # fmt: skip
    call(results, "--exp_dir", exp, "--test_sets", "test")
    call(export, "--exp_dir", exp, "--out_dir", exp / "export")

    figures = json.loads((hyp / "score/result.json").read_text())["tasks"]
    assert figures["speaker"]["unseen"] == figures["speaker"]["unlabelled"] == TEST_IDS
    assert figures["speaker"]["wa"] is figures["speaker"]["nll"] is None and figures["speaker"]["num_scored"] == 0
    assert figures["emotion"]["num_scored"] == 4 and "unseen" not in figures["emotion"]
    note = "speaker: 4 of 4 utterances have a label that training lacks: unlabelled"
    for path in ("RESULTS.md", "report.html", "export/README.md"):
        assert note in (exp / path).read_text()
    head, _, row = [line.split("|") for line in (exp / "RESULTS.md").read_text().splitlines() if "|" in line][:3]
    cells = {title.strip(): cell.strip() for title, cell in zip(head, row)}
    assert cells["speaker accuracy"] == "–" and cells["emotion WA"] != "–"


def test_a_label_that_training_lacks_is_learned_as_little_as_an_empty_one(root):
    """Two of the three speakers of valid are unknown, by a label or by none: loss and gradients are the same."""
    tokenizer = load_tokenizer(root / "token_list")
    config = load(TrainConfig, root / "train.yaml")
    torch.manual_seed(0)
    model = build_model(config, tokenizer, {}).eval()
    speakers = read_table(root / "valid/utt2spk") | {"valid-01": "train-speaker"}
    found = {}
    for blank in (False, True):
        known = {utt_id: "" if blank and name == "valid-speaker" else name for utt_id, name in speakers.items()}
        write_table(root / "valid/utt2speaker", known)
        utterances = read_utterances(root / "valid", tokenizer, "error")
        assert [utt.values["speaker"] for utt in utterances] == ["", "train-speaker", ""]
        output = model(collate(list(utterances), tokenizer, model.max_target))
        model.zero_grad()
        output.loss.backward()
        gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        found[blank] = output, gradients
    (labelled, gradients), (empty, expected) = found[False], found[True]
    assert labelled.loss == empty.loss and labelled.count_K.tolist() == empty.count_K.tolist()
    assert labelled.count_K[1] == 1  # the token of the one speaker who is known
    assert gradients.keys() == expected.keys()
    assert all(torch.equal(gradients[name], gradient) for name, gradient in expected.items())


def test_known_speakers_of_the_validation_set_are_scored(root, no_git):
    write_table(root / "valid/utt2speaker", read_table(root / "valid/utt2spk") | {"valid-01": "train-speaker"})
    call(train, *train_arguments(root, root / "exp", "max_steps=1", "valid_task=speaker"))
    (accuracy,) = [json.loads(line)["valid"]["accuracy_speaker"]
                   for line in (root / "exp/metrics.jsonl").read_text().splitlines() if '"valid"' in line]  # fmt: skip
    assert accuracy in (0.0, 1.0)  # of one utterance


def test_a_task_of_which_validation_knows_nothing_cannot_select(root, capfd):
    line = error_line(capfd, train, *train_arguments(root, root / "exp", "valid_task=speaker"))
    assert f"{root}/valid: 'speaker' selects the checkpoints" in line and "let another task select" in line
    assert not (root / "exp").exists()


@pytest.mark.parametrize("name", ["asr", "gender", "speakers"])
def test_only_a_category_among_the_tasks_can_be_open(root, capfd, name):
    more = ["--tasks", TASKS, "--open_tasks", name, "--out_dir", root / "new"]
    line = error_line(capfd, token_list, *token_list_arguments(root, *more))
    assert line == f"error: open_tasks '{name}': not a category among the tasks; allowed: speaker emotion"
