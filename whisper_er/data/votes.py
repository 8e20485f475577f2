"""The votes of annotators: utt2<task>_votes, `label:count label:count ...` of each utterance, "" where nobody voted."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.packed_strings import PackedStrings
from whisper_er.task import Task

Votes = dict[str, int]  # label -> count
VOTE = re.compile(r"(.+):([1-9][0-9]{0,8})")


def votes_table(task: Task) -> str:
    """Name of the data directory's file."""
    return f"utt2{task.name}_votes"


def parse_votes(value: str, where: str = "") -> Votes:
    """UserError for what is not `label:count ...`, which `where` names."""
    votes: Votes = {}
    for word in value.split():
        found = VOTE.fullmatch(word)
        if not found or found[1] in votes:
            raise UserError(
                f"{where}: bad votes at '{word[:50]}'; allowed are `label:count`, each label once, counts from 1"
            )
        votes[found[1]] = int(found[2])
    return votes


def written(votes: Votes) -> str:
    """The votes as the table has them."""
    return " ".join(f"{label}:{count}" for label, count in sorted(votes.items()))


def known(votes: Votes, task: Task) -> Votes:
    """The votes for the task's labels."""
    return {label: count for label, count in votes.items() if label in task.labels}


def most_voted(votes: Votes, task: Task) -> str:
    """The label with the most votes; of several, the first of the task's labels."""
    return max(task.labels, key=lambda label: votes.get(label, 0))


def shares(votes: Votes, label: str, task: Task) -> list[float]:
    """Probability of each of the task's labels: by the votes; without any, all of it is the label's."""
    votes = votes or {label: 1}
    return [votes.get(one, 0) / sum(votes.values()) for one in task.labels]


def soft_tasks(tasks: Sequence[Task], names: Iterable[str]) -> list[Task]:
    """The tasks of loss.soft_labels. UserError for a name that is no category."""
    categories = {task.name: task for task in tasks if task.kind == "category"}
    for name in names:
        if name not in categories:
            raise UserError(
                f"loss.soft_labels: '{name}' is no category among the tasks; allowed: {' '.join(categories) or 'none'}"
            )
    return [categories[name] for name in dict.fromkeys(names)]


def checked_votes(
    path: Path, utt_ids: PackedStrings, column: PackedStrings, labels: PackedStrings, task: Task
) -> tuple[PackedStrings, PackedStrings]:
    """The labels and the votes of a set, without what the task has no label for; all of that is counted and printed.

    An utterance whose votes are all for other labels has no label either.
    """
    left_out, kept, kept_labels = Counter[str](), [], []
    num_learned = num_unlabelled = 0
    for utt_id, value, label in zip(utt_ids, column, labels):
        votes = parse_votes(value, f"{path}: {utt_id}")
        own = known(votes, task)
        left_out.update({other: count for other, count in votes.items() if other not in own})
        num_learned += bool(own) and not label
        num_unlabelled += bool(votes) and not own
        kept.append(written(own))
        kept_labels.append("" if votes and not own else label)
    voted = sum(map(bool, kept))
    lines = [f"{voted} of {len(kept)} utterances have votes, {num_learned} of them no label"]
    if left_out:
        names = first_few(f"{label} {count}" for label, count in left_out.most_common())
        lines.append(f"{left_out.total()} votes for labels that {task.name} lacks are left out: {names}")
    if num_unlabelled:
        lines.append(f"{num_unlabelled} utterances have no other votes: unlabelled")
    print(f"{path}: {'; '.join(lines)}", flush=True)
    return PackedStrings(kept_labels), PackedStrings(kept)


def known_votes(path: Path, table: Mapping[str, str], task: Task) -> dict[str, Votes]:
    """Of each utterance the votes for the task's labels."""
    return {utt_id: known(parse_votes(value, f"{path}: {utt_id}"), task) for utt_id, value in table.items()}
