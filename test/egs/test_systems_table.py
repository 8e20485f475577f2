"""utils/systems_table.py on results that are made up: intervals by group, seeds, collapsed folds, time in a log."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from launched import LAUNCH
from small_results import ASR, EMOTION, GENDER, LABELS, pairs_of, write_fold

from whisper_er.data.kaldi import write_table
from whisper_er.score.results import collect

sys.path.insert(0, str(LAUNCH.parent))
from systems import Call, System, states  # noqa: E402
from systems_table import (  # noqa: E402
    Scored,
    against,
    difference,
    experiments,
    read_scored,
    rows_of,
    single_task,
    training_seconds,
)

EVENTS, SIZE = 12, 5  # an event is understood or not, all of its utterances alike
WRONG_EVENTS = {"": (2, 5), "1": (2, 5), "2": (0, 1, 5, 7)}  # by seed


def scored(root: Path, name: str, seeds: tuple[str, ...] = ("",)) -> Scored:
    """Two folds of six events each."""
    runs = []
    for seed in seeds:
        exp_dir = root / name / f"seed{seed}"
        for fold in (0, 1):
            emotion, events = [], []
            for event in range(6 * fold, 6 * fold + 6):
                ref = LABELS[event % 3]
                hyp = LABELS[(event + (event in WRONG_EVENTS[seed])) % 3]
                emotion += [(ref, hyp, 0.9)] * SIZE
                events += [f"event{event}"] * SIZE
            pairs = pairs_of(emotion, "ab"[fold])
            data_dir = root / f"data{fold}"
            data_dir.mkdir(exist_ok=True)
            write_table(data_dir / "utt2event", dict(zip(pairs.utt_ids, events)))
            write_fold(exp_dir, str(fold), pairs, data_dir)
        runs += collect(exp_dir, ["0", "1"], "test", "x")
    return Scored(Call(name, System(tasks="asr gender emotion"), name, System(), "base"), runs)


def test_an_interval_by_event_is_that_of_a_loop_that_draws_whole_events(tmp_path):
    one = scored(tmp_path, "a")
    right = [event not in WRONG_EVENTS[""] for event in range(EVENTS)]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(4000):
        drawn = rng.integers(EVENTS, size=EVENTS)
        recalls = [[right[event] for event in drawn if event % 3 == label] for label in range(3)]
        if all(recalls):  # else UA is of the labels that are left
            draws.append(np.mean([np.mean(recall) for recall in recalls]))
    low, high = np.quantile(draws, [0.025, 0.975])
    value, ends = one.pooled("UA", "event").split(" [")
    found = [float(end) / 100 for end in ends.rstrip("]").split(" to ")]
    assert value == f"{100 * np.mean([1, 1, 0.5]):.1f}" and found == pytest.approx([low, high], abs=0.03)
    by_utterance = [float(end) / 100 for end in one.pooled("UA", "utterance").split("[")[1].rstrip("]").split(" to ")]
    assert found[1] - found[0] > 1.5 * (by_utterance[1] - by_utterance[0])  # events are fewer, and alike within


def test_several_seeds_are_their_mean_and_deviation(tmp_path):
    one = scored(tmp_path, "a", ("1", "2"))
    of_seeds = [10 / 12, 8 / 12]  # as many events of each label
    assert one.pooled("UA", "utterance").startswith("75.0 [") and one.pooled("WA", "event").startswith("75.0 [")
    assert one.over_seeds("UA") == f"{100 * np.mean(of_seeds):.1f} ± {100 * np.std(of_seeds, ddof=1):.1f}"
    of_folds = [(4 + 3) / 12, (6 + 5) / 12]
    assert one.over_folds("WA") == f"{100 * np.mean(of_folds):.1f} ± {100 * np.std(of_folds, ddof=1):.1f}"
    assert (one.pooled("gender", "event"), one.over_seeds("gender")) == ("100.0", "100.0 ± 0.0")


def test_two_systems_are_compared_on_the_same_utterances(tmp_path):
    first, second = scored(tmp_path, "a", ("1",)), scored(tmp_path, "b", ("2",))
    difference, p = against(first, second, "event")
    assert difference.startswith("-16.7 [") and p == "0.041"  # 5 and 15 utterances that only one has right
    assert against(first, first, "event") == ["–", "–"]


def test_a_subtask_is_compared_with_the_system_that_was_trained_for_it_alone(tmp_path):
    systems = []
    for name, tasks, heard in (("stl_asr", "asr", "one two"), ("a_g_s", "asr gender emotion", "one three")):
        pairs = pairs_of([(label, label, 0.9) for label in LABELS * 4], words=("one two", heard))
        names = tasks.split()
        pairs = replace(pairs, tasks={task: pairs.tasks[task] for task in names})
        write_fold(tmp_path / name, "0", pairs, None, [task for task in (ASR, GENDER, EMOTION) if task.name in names])
        best = tmp_path / name / "fold0/checkpoints/best.json"
        best.parent.mkdir()
        best.write_text(json.dumps({"metric": "untrained", "n_best": 1, "finished": "max_steps=0", "best": []}))
        call = Call(name, System(tasks=tasks), name, System(tasks=tasks), "base")
        systems.append(Scored(call, collect(tmp_path / name, ["0"], "test", "x")))
    alone, together = systems
    assert single_task([together]) == {} and single_task(systems) == {"WER": alone}
    # every second utterance has one of two words wrong
    assert difference(alone, together, "WER", "utterance").startswith("+25.0 [+")
    head, *rows = rows_of(systems, None, "utterance")
    assert (
        head[-2:] == ["WER against stl_asr", "minutes"]
        and "WER against stl_asr" not in rows_of([together], None, "utterance")[0]
    )
    assert [row[-2].split()[0] for row in rows] == ["–", "+25.0"]


def test_a_fold_with_one_answer_for_everybody_is_told(tmp_path):
    for fold, hyp in (("0", LABELS), ("1", ["sad"] * 3)):
        pairs = pairs_of([(ref, answer, 0.9) for ref, answer in zip(LABELS, hyp)], f"u{fold}")
        write_fold(tmp_path / "a", fold, pairs, None)
    runs = collect(tmp_path / "a", ["0", "1"], "test", "x")
    (line,) = Scored(Call("a", System(), "a", System(), ""), runs).caveats()
    assert line.startswith(f"a, `{tmp_path / 'a'}`: Warning: fold 1: every answer to emotion is 'sad'")


def test_ready_sets_without_folds_are_one_experiment(tmp_path):
    pairs = pairs_of([(ref, ref, 0.9) for ref in LABELS])
    write_fold(tmp_path / "made", "1", pairs, None)
    (tmp_path / "made/fold1").rename(tmp_path / "a_base")
    args = argparse.Namespace(folds="", seeds="", expdir=str(tmp_path))
    call = Call("a", System(inference_tag="x"), "a", System(), "base")
    one = read_scored(call, args)
    assert one.pooled("UA", "utterance").startswith("100.0 [") and one.over_folds("UA") == "–"
    assert one.fold_dirs == [tmp_path / "a_base"] and str(tmp_path / "a_base") in experiments([one])
    assert states([call], args).splitlines()[2].split() == ["|", "1", "|", "a", "|", "scored", "|"]


def test_the_time_of_a_training_is_that_of_all_its_calls(tmp_path):
    call = "# python -m x\n# host a, start 2026-01-01 {}, GPU 0\nwords\n# end 2026-01-01 {}, exit code 0\n"
    (tmp_path / "train.log").write_text(call.format("00:00:00", "00:01:30") + call.format("23:00:00", "23:00:05"))
    assert training_seconds(tmp_path / "train.log") == 95
    (tmp_path / "train.log").write_text("# host a, start 2026-01-01 00:00:00\n" + call.format("01:00:00", "01:01:30"))
    assert training_seconds(tmp_path / "train.log") is None  # the first call was killed
    assert training_seconds(tmp_path / "none.log") is None
