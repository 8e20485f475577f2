"""report.html and comparison.html as files: what they say, and what they may load."""

import ast
import base64
import hashlib
import json
import math
import re
import shutil
from pathlib import Path

import pytest
from parsed_report import Parsed, rewritten
from repository import ROOT
from small_results import (
    ASR,
    EMOTION,
    ERRORS_FIRST,
    LABELS,
    NAMES,
    pairs_of,
    read_two_folds,
    write_fold,
    write_two_folds,
)
from tiny_experiment import call

from whisper_er.base.errors import UserError
from whisper_er.bin import compare, results
from whisper_er.report import charts, markup, page, speakers, utterances
from whisper_er.report.curves import read_curves
from whisper_er.report.experiment import write_report
from whisper_er.report.rows import summary_rows
from whisper_er.score import scoring
from whisper_er.score.pairing import Pairs, TaskPairs
from whisper_er.task import Task


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("recipe")
    write_two_folds(root)
    return root


@pytest.fixture(scope="module")
def report(root) -> Parsed:
    exp = root / "exp/ser"
    write_report(exp, ["./run.sh --stage 6"], [read_two_folds(exp)], 1.0)
    return Parsed(exp / "report.html")


def test_the_figures_are_those_of_results_md(root, report):
    result = read_two_folds(root / "exp/ser")
    assert report.tables["Figures of each fold"] == summary_rows(result)
    emotion = result.pooled.tasks["emotion"]
    rows = report.tables["Confusion of emotion: % of the reference, count"]
    assert [row[0] for row in rows[1:]] == list(emotion.labels) == sorted(LABELS)
    assert [[int(cell.split()[1]) for cell in row[1:4]] for row in rows[1:]] == emotion.confusion
    assert [row[4] for row in rows[1:]] == [f"{100 * emotion.recall[label]:.1f}" for label in emotion.labels]
    interval = emotion.intervals["speaker"]["ua"]
    (row,) = [row for row in report.tables["95 % bootstrap intervals"] if row[0] == "emotion UA"]
    assert row[1] == f"{100 * emotion.ua:.1f}" and row[3] == f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert f"emotion: ECE {100 * emotion.ece:.1f}, NLL {emotion.nll:.3f}" in report.text
    bins = report.tables["Reliability of emotion"][1:]
    assert sum(int(row[1]) for row in bins) == emotion.num_scored == 7
    assert "tested on others" in report.text and "./run.sh --stage 6" in report.text
    assert report.tables["Per style"][1][0] == "improvised"


def test_the_table_has_every_utterance_with_errors_first_the_most_certain_at_the_top(report):
    assert [row[0] for row in report.data["rows"]] == ERRORS_FIRST
    columns = {column["key"]: i + 1 for i, column in enumerate(report.data["columns"])}
    (row,) = [row for row in report.data["rows"] if row[0] == "b00"]
    at = report.data["columns"][columns["task-emotion"] - 1]["labels"].index
    assert row[columns["task-emotion"]] == [at("angry"), at("sad"), [0.025, 0.025, 0.95]]
    assert row[columns["fold"]] == "2" and row[columns["speaker"]] == "b-speaker0"
    assert row[columns["task-asr"]] == ["one two", "one two", 0, None]
    (unlabelled,) = [row for row in report.data["rows"] if row[0] == "a03"]
    assert unlabelled[columns["task-emotion"]][0] == -1


def test_nothing_is_loaded_from_elsewhere_and_only_our_own_script_may_run(report):
    for tag, attrs in report.tags:
        assert not {"src", "style", "onclick", "onload", "srcset"} & attrs.keys(), (tag, attrs)
        assert attrs.get("href", "#").startswith("#") and tag not in ("link", "iframe", "object", "embed", "base")
    policies = [attrs["content"] for tag, attrs in report.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    (policy,) = policies
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(report.blocks[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    for name in ("report.css", "report.js"):
        source = (ROOT / "whisper_er/report" / name).read_text()
        assert not re.search(r"https?:|url\(|@import|innerHTML|insertAdjacentHTML|eval\(|fetch\(", source)


def test_the_page_has_a_language_a_title_one_main_heading_and_names_for_its_figures(report):
    tags = [tag for tag, _ in report.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("nav") == 1
    assert "<title>Results of ser</title>" in report.source
    assert ("html", {"lang": "en"}) in report.tags
    anchors = {attrs["href"][1:] for tag, attrs in report.tags if tag == "a"}
    assert anchors <= {attrs.get("id") for _, attrs in report.tags}
    for tag, attrs in report.tags:
        if tag == "svg":
            assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
        if tag == "th":
            assert attrs["scope"] in ("row", "col")


def test_what_labels_speakers_and_transcripts_hold_stays_text(tmp_path):
    labels = ("a'\"b", "&lt;b&gt;", "]]--!")
    size = len(NAMES)
    emotion = TaskPairs(
        labels * 4, (labels[1:] + labels[:1]) * 4, posterior=tuple(dict.fromkeys(labels, 1 / 3) for _ in range(12))
    )
    words = tuple(NAMES[i % size] for i in range(12))
    pairs = Pairs(
        tuple(f"u{i}" for i in range(12)),
        words,
        {"style": words},
        {"asr": TaskPairs(words, words[::-1], words, words[::-1]), "emotion": emotion},
    )
    exp = tmp_path / "exp" / "<img src=x>&amp;"
    tasks = [ASR, Task("emotion", "category", labels)]
    for fold, kept in (("1", range(6)), ("2", range(6, 12))):
        write_fold(exp, fold, pairs.select(kept), None, tasks)
    parsed = rewritten(exp)
    assert not {"img", "b"} & {tag for tag, _ in parsed.tags}
    assert [attrs.get("type", "ours") for tag, attrs in parsed.tags if tag == "script"] == ["application/json", "ours"]
    assert "Results of <img src=x>&amp;" in parsed.text
    assert {row[2] for row in parsed.data["rows"]} == set(words)
    assert set(labels) == {row[0] for row in parsed.tables["Confusion of emotion: % of the reference, count"][1:]}
    named = {json.loads(attrs["data-filter"]).get("speaker") for _, attrs in parsed.tags if "data-filter" in attrs}
    assert set(words) <= named


@pytest.mark.parametrize(
    "content, reason",
    [
        (None, "metrics.jsonl: cannot be read: No such file"),
        ("{", "metrics.jsonl: not what training writes"),
        ('{"step": 1, "train": {"loss": "x"}}\n', "'loss' is 'x'"),
        ('{"train": {}}\n', "has no 'step'"),
    ],
)
def test_without_a_log_of_training_the_curves_say_so(tmp_path, content, reason):
    exp = write_two_folds(tmp_path)
    path = exp / "fold2/metrics.jsonl"
    path.unlink() if content is None else path.write_text(content)
    parsed = rewritten(exp)
    assert reason in parsed.text
    assert [row[0] for row in parsed.tables["Learning curves"]] == ["fold", "1"]


def test_learning_curves_leave_out_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "train": {"loss": NaN}}\n{"step": 2, "train": {"loss": 3}, "lr": 1}\n')
    assert read_curves(path) == {"train loss": [(2, 3.0)]}
    path.write_text('{"step": 1, "train": {"loss": 1e999}}\n{"step": 2, "valid": 3}\n')
    assert read_curves(path) == {}


def test_curves_show_the_best_validation_of_each_fold(report):
    assert report.tables["Learning curves"][1] == [
        "1",
        "3",
        "3.000",
        "3.167 at step 3",
        "0.667 at step 3",
        "0.667 at step 3",
        "0.667 at step 3",
    ]
    names = [attrs["aria-label"] for tag, attrs in report.tags if tag == "svg" and "aria-label" in attrs]
    assert "emotion: WA, fold 1: 0 to 0.667; fold 2: 0 to 0.667" in names


def test_a_figure_that_is_not_defined_is_a_dash_and_never_nan(tmp_path):
    for fold, prefix in (("1", "a"), ("2", "b")):
        write_fold(tmp_path, fold, pairs_of([("", "sad", 0.5)] * 2, prefix, ("", "")), None)
    parsed = rewritten(tmp_path)
    assert parsed.tables["Figures of each fold"][-1][2:4] == ["–", "–"]
    assert "nan" not in parsed.text.lower().replace("nanosecond", "")
    assert parsed.tables["Confusion of emotion: % of the reference, count"][1][1] == "– 0"
    assert parsed.tables["Per speaker"][1] == ["a-speaker0", "1", "–", "100.0", "–", "–"]


def test_figures_per_speaker_are_those_of_his_utterances_alone():
    pairs = pairs_of([("sad", "sad", 0.9), ("sad", "happy", 0.6), ("happy", "happy", 0.5), ("sad", "sad", 0.7)])
    valence = Task("valence", "scale", ("1", "5"))
    scale = TaskPairs(("1", "2", "", "4"), ("1.5", "2", "3", "1"))
    pairs = Pairs(pairs.utt_ids, pairs.speakers, {}, pairs.tasks | {"valence": scale})
    heading, *rows = speakers.speaker_rows([ASR, EMOTION, valence], pairs)
    assert heading == ["speaker", "utterances", "WER", "emotion WA", "emotion UA", "valence CCC", "valence MAE"]
    for i, row in enumerate(rows):
        alone = scoring.score_tasks([ASR, EMOTION, valence], pairs.select([i, i + 2])).values
        assert row[:2] == [f"u-speaker{i}", "2"]
        assert row[2:5] == [
            f"{100 * alone[task][figure]:.1f}"
            for task, figure in (("asr", "wer"), ("emotion", "wa"), ("emotion", "ua"))
        ]
        assert row[6] == f"{alone['valence']['mae']:.2f}"


def test_marked_words_give_back_both_sides():
    said, heard = ("a b c d", "", "x", "one two"), ("b x d e f", "y", "", "one two")
    rows = utterances.text_values(TaskPairs(said, heard, said, heard))
    for ref, hyp, row in zip(said, heard, rows):
        parts = row[3] or [["=", ref]]
        assert " ".join(words for kind, words in parts if kind in "=-") == ref
        assert " ".join(words for kind, words in parts if kind in "=+") == hyp
    assert [row[2] for row in rows] == [4, 1, 1, 0]


@pytest.mark.parametrize("low, high", [(0, 1), (0, 0), (3, 3), (-0.2, 0.97), (0, 11.96), (1e-9, 2e-9), (0, 1e12)])
def test_ticks_are_few_rise_and_span_the_values(low, high):
    ticks = charts.nice_ticks(low, high)
    assert 2 <= len(ticks) <= 8 and sorted(set(ticks)) == ticks
    assert ticks[0] <= low + 1e-9 * max(1, abs(low)) and ticks[-1] >= high - 1e-9 * max(1, abs(high))
    assert all(math.isfinite(tick) for tick in ticks)


def test_markup_escapes_every_string_that_it_did_not_make():
    made = markup.element("td", "<b>", markup.element("i", "&"), title='"<', hidden=True, lang="")
    assert made == '<td title="&quot;&lt;" hidden>&lt;b&gt;<i>&amp;</i></td>'
    assert "<" not in page.script_safe({"a": "</script><!--"})


def test_the_same_results_give_the_same_file_byte_for_byte(root):
    exp = root / "exp/ser"
    assert rewritten(exp).source == rewritten(exp).source


@pytest.fixture
def undrawn(monkeypatch):
    """Without the figures for papers, which take matplotlib seconds."""
    monkeypatch.setattr(results.plots, "save_confusion", lambda *_: None)


def test_several_ways_of_decoding_share_one_table(tmp_path, undrawn):
    exp = write_two_folds(tmp_path)
    for fold in ("1", "2"):
        shutil.copytree(exp / f"fold{fold}/decode_x", exp / f"fold{fold}/decode_y")
    call(results, "--exp_dir", exp, "--folds", "1 2", "--test_sets", "test")
    parsed = Parsed(exp / "report.html")
    assert len(parsed.data["rows"]) == 16 and len(parsed.sounds()) == 8  # a sound is there once
    assert {row[3] for row in parsed.data["rows"]} == {"decode_x/test", "decode_y/test"}
    cells = [json.loads(attrs["data-filter"]) for _, attrs in parsed.tags if "data-filter" in attrs]
    assert all(cell["set"] in ("decode_x/test", "decode_y/test") for cell in cells)


def test_stage_6_writes_a_report_for_each_seed_and_says_what_sound_it_has(tmp_path, capsys, undrawn):
    for seed in "12":
        write_two_folds(tmp_path, name=f"ser/seed{seed}")
    call(results, "--exp_dir", tmp_path / "exp/ser", "--folds", "1 2", "--seeds", "1 2", "--test_sets", "test",
         "--run_command", "./run.sh --seeds '1 2'", "--report_audio_mb", "0")  # fmt: skip
    said = capsys.readouterr().out
    for seed in "12":
        path = tmp_path / f"exp/ser/seed{seed}/report.html"
        assert f"{path}: Audio: of 8 utterances 0 are in this file (0.0 MB), 8 are links" in said
        assert "./run.sh --seeds '1 2'" in Parsed(path).text


def test_what_the_pages_are_made_of_is_part_of_the_package():
    tree = ast.parse((ROOT / "setup.py").read_text())
    (given,) = [
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "package_data"
    ]
    listed = {Path(*package.split("."), name) for package, names in given.items() for name in names}
    there = {
        path.relative_to(ROOT)
        for path in (ROOT / "whisper_er").rglob("*.*")
        if path.suffix not in (".py", ".pyc", ".md")
    }
    assert listed == there


def test_a_comparison_shows_both_and_begins_with_what_changed_hands(tmp_path):
    first, second = tmp_path / "exp/old", tmp_path / "exp/new"
    write_two_folds(tmp_path, name="old")
    better = {
        "1": [("sad", "sad", 0.6), ("sad", "sad", 0.8), ("happy", "sad", 0.7), ("", "sad", 0.7)],
        "2": [("angry", "sad", 0.5), ("sad", "sad", 0.4), ("angry", "angry", 0.9), ("happy", "happy", 0.9)],
    }
    for fold, prefix in (("1", "a"), ("2", "b")):
        write_fold(second, fold, pairs_of(better[fold], prefix), tmp_path / f"dump/fold{fold}")
    call(compare, "--first", first, "--second", second, "--folds", "1 2", "--out_dir", tmp_path / "out")
    parsed = Parsed(tmp_path / "out/comparison.html")
    columns = [column["key"] for column in parsed.data["columns"]]
    rows = [(row[0], row[columns.index("right") + 1]) for row in parsed.data["rows"]]
    assert rows == [
        ("b03", "only new"),
        ("a01", "only new"),
        ("a02", "only old"),
        ("b00", "neither"),
        ("b02", "both"),
        ("a00", "both"),
        ("b01", "both"),
    ]
    assert parsed.data["first"] == {"right": "changed hands"} and len(parsed.sounds()) == 7
    assert "only old has 1 right and only new 2: exact McNemar test, p = 1.000" in parsed.text
    both = parsed.tables["Figures of emotion and their difference"]
    assert both[0][:4] == ["emotion", "old", "new", "difference"]
    assert both[1][:4] == ["WA", "57.1", "71.4", "+14.3"]
    assert [row[0] for row in parsed.tables["Pooled figures of both"][1:]] == ["old", "new"]


@pytest.mark.parametrize("broken", ["metrics.jsonl", "decode_x/test/score/result.json"])
def test_a_broken_file_of_scores_is_one_line_and_one_of_training_none(tmp_path, broken):
    exp = write_two_folds(tmp_path)
    (exp / "fold1" / broken).write_text("[" * 9999)
    if broken == "metrics.jsonl":
        assert "nested too deeply" in rewritten(exp).text
    else:
        with pytest.raises(UserError, match="result.json: not what scoring writes"):
            rewritten(exp)
