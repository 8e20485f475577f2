"""Three tasks in each of their six orders, from the token list to the report."""

import json
from itertools import permutations
from pathlib import Path

import pytest
from parsed_report import Parsed
from tiny_experiment import SIZES, TASKS, call, decode_arguments, token_list_arguments, train_arguments

from whisper_er.bin import average, decode, results, score, token_list, train
from whisper_er.data.kaldi import read_table
from whisper_er.text.token_list import read_token_list
from whisper_er.train.experiment import read_best

LABELS = {"gender": {"female", "male"}, "emotion": {"happy", "sad"}}
TEST_IDS = [f"test-{number:02d}" for number in range(SIZES["test"])]


@pytest.fixture(scope="module", params=permutations(TASKS.split()), ids=" ".join)
def run(request, corpus, tmp_path_factory, no_git) -> tuple[list[str], Path]:
    """Tasks in the order of the target, and the experiment, whose hypotheses and scores are in decode_x/test."""
    root = tmp_path_factory.mktemp("order")
    exp, hyp = root / "exp", root / "exp/decode_x/test"
    tasks = " ".join(request.param)
    call(token_list, *token_list_arguments(corpus, "--tasks", tasks, "--out_dir", root / "token_list"))
    call(train, *train_arguments(corpus, exp, "--token_list", root / "token_list", "max_steps=2"))
    call(average, "--exp_dir", exp)
    call(decode, *decode_arguments(corpus, exp, hyp))
    call(score, "--ref_dir", corpus / "test", "--hyp_dir", hyp, "--tasks", tasks, "--exp_dir", exp, "--out",
         hyp / "score/result.json")  # fmt: skip
    call(results, "--exp_dir", exp, "--test_sets", "test")
    return [*request.param], exp


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_task_gets_an_answer_of_its_labels_for_every_utterance(run):
    tasks, exp = run
    assert [task.name for task in read_token_list(exp / "token_list").tasks] == tasks
    hyp = exp / "decode_x/test"
    assert list(read_table(hyp / "text")) == TEST_IDS
    for name, labels in LABELS.items():
        table = read_table(hyp / f"utt2{name}")
        assert list(table) == TEST_IDS and set(table.values()) <= labels
    for line in lines_of(hyp / "posteriors.jsonl"):
        assert list(line) == ["utt_id", "score", *(name for name in tasks if name != "asr")]
        assert all(line[name].keys() == labels for name, labels in LABELS.items())
        assert all(sum(line[name].values()) == pytest.approx(1) for name in LABELS)


def test_scores_and_tables_name_the_tasks_in_the_order_of_the_target(run):
    tasks, exp = run
    result = json.loads((exp / "decode_x/test/score/result.json").read_text())
    assert list(result["tasks"]) == tasks and result["num_utterances"] == len(TEST_IDS)
    assert [list(line["tasks"]) for line in lines_of(exp / "decode_x/test/score/utterances.jsonl")] == 4 * [tasks]
    head = next(line for line in (exp / "RESULTS.md").read_text().splitlines() if line.startswith("| fold |"))
    figures = {"WER": "asr", "gender accuracy": "gender", "emotion WA": "emotion"}
    assert [figures[cell.strip()] for cell in head.split("|") if cell.strip() in figures] == tasks


def test_emotion_selects_the_checkpoints_and_stands_first_in_the_report_wherever_it_stands_in_the_target(run):
    tasks, exp = run
    assert read_best(exp)["metric"] == "valid_emotion_accuracy"
    report = Parsed(exp / "report.html")
    titles = [column["title"] for column in report.data["columns"]]
    assert [title for title in titles if title in tasks] == ["emotion", *(name for name in tasks if name != "emotion")]
