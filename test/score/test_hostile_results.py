"""Hypotheses and scores of any content: tables and a report, or one line that names the file."""

from pathlib import Path

import pytest
from entry_point import error_of
from hostile import offer_anything, offer_pickles
from tiny_experiment import call

from whisper_er.base.files import write_text
from whisper_er.bin import results as results_bin
from whisper_er.data.kaldi import read_table
from whisper_er.report import plots
from whisper_er.report.experiment import write_report
from whisper_er.report.markdown import render
from whisper_er.score import hypotheses, results
from whisper_er.score.figures import CategoryFigures
from whisper_er.task import Task
from whisper_er.text.token_list import read_token_list


def read_posteriors(path: Path) -> None:
    wanted = read_table(path.parent / "utt2emotion")
    tasks = read_token_list(path.parents[2] / "token_list").tasks
    hypotheses.read_posteriors(path.parent, path.parent / "utt2emotion", wanted, tasks)


def read_scores(path: Path) -> None:
    """As far as the tables of RESULTS.md and the page of report.html."""
    exp = path.parents[3]
    collected = results.collect(exp, [], "test", "x")
    render(exp, ["command"], collected)
    write_report(exp, ["command"], collected, 0)


READERS = {
    "decode.json": lambda path: hypotheses.read_protocol(path.parent),
    "posteriors.jsonl": read_posteriors,
    "score/result.json": read_scores,
    "score/utterances.jsonl": read_scores,
}


@pytest.mark.parametrize("name", READERS)
def test_any_content_is_read_or_refused_in_one_line_that_names_the_file(exp, name):
    offer_anything(exp / "decode_x/test" / name, READERS[name])


@pytest.mark.parametrize("name", READERS)
def test_a_pickle_under_any_name_is_not_run(exp, tmp_path, name):
    offer_pickles(exp / "decode_x/test" / name, READERS[name], tmp_path)


def test_the_tables_are_made_from_what_is_whole(exp):
    call(results_bin, "--exp_dir", exp, "--test_sets", "test")
    assert (exp / "RESULTS.md").is_file()


def test_a_broken_result_is_one_line_on_the_terminal(root):
    path = root / "exp/decode_x/test/score/result.json"
    path.write_text("[" * 3000)
    assert str(path) in error_of("results", "--exp_dir", root / "exp", "--test_sets", "test")
    assert not (root / "exp/RESULTS.md").exists()


def test_a_directory_that_is_no_hypothesis_directory_is_not_overwritten(root, refused):
    (root / "hyp").mkdir()
    (root / "hyp/thesis.tex").write_text("years of work")
    refused(("decode", {}, [], ["{root}/hyp: exists and is something else"]))
    assert (root / "hyp/thesis.tex").read_text() == "years of work"


def test_a_result_that_is_not_utf8_is_written_anew(tmp_path):
    (tmp_path / "result.json").write_bytes(b"\xff\xfe")
    write_text(tmp_path / "result.json", "{}\n")
    assert (tmp_path / "result.json").read_text() == "{}\n"


def test_dollars_in_a_label_are_no_mathematics(tmp_path):
    pytest.importorskip("matplotlib")
    task = Task("emotion", "category", ("$\\frac$", "a$b$c^"))
    plots.save_confusion({"$\\oops$": CategoryFigures(task, confusion=[[1, 0], [0, 1]])}, tmp_path / "figure")
    assert "$\\frac$" in (tmp_path / "figure.svg").read_text()
