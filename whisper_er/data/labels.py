"""The labels of a data directory against those of a task."""

from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.data.packed_strings import PackedStrings
from whisper_er.task import Task

LANGUAGE = "utt2lang"  # the language of each utterance, which chooses its prefix


def checked_labels(directory: Path, utt_ids: PackedStrings, column: PackedStrings, task: Task) -> PackedStrings:
    """The column; without the labels that an open task does not have, which are counted on standard output.

    UserError for a label that another task does not have; texts and missing labels pass.
    """
    if task.kind == "text":
        return column
    if task.open:
        known, unseen = PackedStrings(map(task.known, column)), sorted(set(column) - {"", *task.labels})
        if number := known.num_empty() - column.num_empty():
            what = f"{number} of {len(column)} utterances have a label that training lacks"
            print(f"{directory}: {task.name}: {what}: unlabelled ({first_few(unseen)})", flush=True)
        return known
    for value in sorted(set(column) - {""}):
        try:
            task.index(value)
        except UserError as error:
            first = next(utt_id for utt_id, other in zip(utt_ids, column) if other == value)
            raise UserError(f"{directory}: {first}: {error}") from None
    return column
