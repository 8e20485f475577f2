"""Several models' posteriors of the same utterances, averaged: a hypothesis directory of their common decision.

The members may be seeds or systems of any kind, as long as they answer a task with the same labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisper_er.base.errors import UserError, first_few
from whisper_er.data import kaldi
from whisper_er.data.kaldi import Table
from whisper_er.score.hypotheses import POSTERIORS, Protocol, read_posteriors, read_protocol, write_hypotheses
from whisper_er.score.temperature import CALIBRATION, read_temperatures, tempered
from whisper_er.task import Prediction, Task
from whisper_er.text.token_list import read_token_list


@dataclass(frozen=True)
class Member:
    """exp_dir: where it was trained; hyp_dir: what it answered; weight: relative to those of the other members."""

    exp_dir: Path
    hyp_dir: Path
    weight: float


def write_ensemble(out_dir: Path, members: Sequence[Member], calibrate: bool) -> list[Task]:
    """Write the weighted mean of the posteriors, and by it the likeliest label, or the expectation of a scale.

    calibrate: each posterior by its model's own temperature. Returns the tasks, which are those that all members answer
    with a posterior: a text has none and is left out.
    """
    tasks = common_tasks(members)
    protocols = [read_protocol(member.hyp_dir) for member in members]
    spoken_by = kaldi.read_table(members[0].hyp_dir / "utt2spk")
    tables = [
        posteriors_of(member, protocol, members[0].hyp_dir / "utt2spk", spoken_by, tasks, calibrate)
        for member, protocol in zip(members, protocols)
    ]
    weights = [member.weight for member in members]
    predictions = []
    for utt_id in spoken_by:
        means = {
            task.name: np.average([table[utt_id][task.name] for table in tables], axis=0, weights=weights)
            for task in tasks
        }
        values = {task.name: task.value(means[task.name], int(means[task.name].argmax())) for task in tasks}
        predictions.append(Prediction(utt_id, values, {name: mean.tolist() for name, mean in means.items()}))
    write_hypotheses(out_dir, members[0].hyp_dir, tasks, predictions, protocol_of(members, protocols, calibrate))
    return tasks


def common_tasks(members: Sequence[Member]) -> list[Task]:
    """Categories and scales of all members, as the first has them. UserError: none, or other labels."""
    own = [
        {task.name: task for task in read_token_list(member.exp_dir / "token_list").tasks if task.kind != "text"}
        for member in members
    ]
    common = [task for name, task in own[0].items() if all(name in tasks for tasks in own)]
    if not common:
        had = "; ".join(f"{member.exp_dir} has {' '.join(tasks)}" for member, tasks in zip(members, own))
        raise UserError(f"--exp_dirs: no category or scale that all of them answer ({had}); choose others")
    for member, tasks in zip(members, own):
        for task in common:
            if odd := sorted(set(task.labels) ^ set(tasks[task.name].labels)):
                raise UserError(
                    f"{member.exp_dir}: its labels of {task.name} are not those of {members[0].exp_dir}: only one of "
                    f"the two has {first_few(odd)}; members need the same labels"
                )
    return common


def posteriors_of(
    member: Member, protocol: Protocol, wanted_path: Path, wanted: Table, tasks: Sequence[Task], calibrate: bool
) -> dict[str, dict[str, np.ndarray]]:
    """Utterance -> task -> posterior (C,), in the order of the task's labels."""
    table = read_posteriors(member.hyp_dir, wanted_path, wanted, tasks)
    lacking = [task.name for task in tasks if task.name not in next(iter(table.values()), {})]
    if lacking:
        raise UserError(
            f"{member.hyp_dir / POSTERIORS}: has no posteriors of {' '.join(lacking)}; decode the set again"
        )
    temperatures: dict[str, float] = {}
    if calibrate and protocol.get("calibrate"):
        raise UserError(f"{member.hyp_dir}: was decoded with calibrate=true already; leave --calibrate out")
    if calibrate and protocol.get("prior_correction"):
        raise UserError(
            f"{member.hyp_dir}: was decoded with prior_correction, before which a temperature belongs; decode it with "
            "calibrate=true as well, and leave --calibrate out"
        )
    if calibrate:
        weights = str(protocol.get("model"))
        temperatures = read_temperatures(member.exp_dir, weights)
        if not temperatures:
            raise UserError(
                f"{member.exp_dir / CALIBRATION}: has no temperature for {weights}; run whisper-er calibrate on this "
                "experiment, or leave --calibrate out"
            )
    return {
        utt_id: {task.name: of_task(task, line[task.name], temperatures.get(task.name)) for task in tasks}
        for utt_id, line in table.items()
    }


def of_task(task: Task, posterior: dict[str, float], temperature: float | None) -> np.ndarray:
    row_C = np.array([posterior[label] for label in task.labels], dtype=np.float64)
    return row_C if temperature is None else tempered(row_C, temperature)


def protocol_of(members: Sequence[Member], protocols: Sequence[Protocol], calibrate: bool) -> Protocol:
    """What RESULTS.md says of the decoding. teacher_forced: whether any member has read references, which makes a
    ceiling of the mean."""
    corrections = [protocol.get("prior_correction", 0.0) for protocol in protocols]
    return {
        "ensemble": " ".join(str(member.hyp_dir) for member in members),
        "weights": " ".join(f"{member.weight:g}" for member in members),
        "calibrate": calibrate or all(bool(protocol.get("calibrate")) for protocol in protocols),
        "teacher_forced": any(
            bool(protocol.get("teacher_forced")) or protocol.get("context_from") == "ref" for protocol in protocols
        ),
        **({"prior_correction": " ".join(map(str, corrections))} if any(corrections) else {}),
    }
