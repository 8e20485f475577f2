"""The hypothesis directory: what decoding writes and scoring reads.

It is a data directory like the reference (utt2spk, and text or utt2<task> for each task), and beside these
    posteriors.jsonl  a line for each utterance: its score, and the probability of every label of each task
    decode.json       how the hypotheses came about: weights and configuration
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.plain_files import misfit, parse_json, parse_json_lines, read_plain
from whisper_er.data import kaldi
from whisper_er.data.kaldi import Table
from whisper_er.task import Prediction, Task

POSTERIORS = "posteriors.jsonl"
PROTOCOL = "decode.json"
REMEDY = "decode the set again"
Protocol = Mapping[str, str | float | bool | None]


def write_hypotheses(
    out_dir: Path, data_dir: Path, tasks: Sequence[Task], predictions: Iterable[Prediction], protocol: Protocol
) -> None:
    """Write out_dir, whole or not at all. data_dir: the reference, whose speakers are taken over."""
    predictions = sorted(predictions, key=lambda item: item.utt_id)
    with kaldi.replace_data_dir(out_dir) as directory:
        kaldi.write_table(directory / "utt2spk", kaldi.read_table(data_dir / "utt2spk"))
        for task in tasks:
            kaldi.write_table(directory / task.table, {item.utt_id: item.values[task.name] for item in predictions})
        lines = (json.dumps(posterior_line(tasks, item), ensure_ascii=False) + "\n" for item in predictions)
        (directory / POSTERIORS).write_text("".join(lines), encoding="utf-8")
        (directory / PROTOCOL).write_text(json.dumps(protocol, indent=1) + "\n")


def posterior_line(tasks: Sequence[Task], item: Prediction) -> dict:
    by_task = {task.name: dict(zip(task.labels, item.posteriors[task.name])) for task in tasks if task.kind != "text"}
    return {"utt_id": item.utt_id, "score": item.score, **by_task}


def read_protocol(hyp_dir: Path) -> Protocol:
    shape = {str: (str, float, bool, None)}
    return read_plain(parse_json, hyp_dir / PROTOCOL, shape, "how a set was decoded", REMEDY)


def read_posteriors(
    hyp_dir: Path, wanted_path: Path, wanted: Table, tasks: Sequence[Task]
) -> dict[str, dict[str, dict[str, float]]]:
    """Utterance -> category or scale -> label -> probability; empty where decoding left none.

    UserError unless the utterances are those of the table `wanted`, which lies at wanted_path.
    """
    path, what = hyp_dir / POSTERIORS, "a line of posteriors for each utterance"
    if not path.is_file():
        return {}
    lines = read_plain(parse_json_lines, path, [{"utt_id": str}], what, REMEDY)
    table = {line["utt_id"]: line for line in lines}
    check_same_ids(wanted_path, wanted, path, table)
    shape = {
        task.name: dict.fromkeys(task.labels, float) for task in tasks if task.kind != "text" and task.name in lines[0]
    }
    if problem := misfit(lines, [shape]):
        raise UserError(f"{path}: not {what} ({problem}); {REMEDY}")
    return table


def check_same_ids(wanted_path: Path, wanted: Mapping, other_path: Path, other: Mapping) -> None:
    """UserError that names the utterances which only one of two tables has."""
    missing, extra = sorted(wanted.keys() - other.keys()), sorted(other.keys() - wanted.keys())
    if missing:
        raise UserError(
            f"{other_path}: missing {first_few(missing)}, which {wanted_path} has; "
            "both must list the same utterances (decode the set again?)"
        )
    if extra:
        raise UserError(
            f"{other_path}: {first_few(extra)} not in {wanted_path}; "
            "both must list the same utterances (decoded another set?)"
        )


def combine_dirs(part_dirs: Sequence[Path], out_dir: Path) -> None:
    """Write the parts as out_dir, whole: all tables, posteriors.jsonl one after the other, decode.json as it is.

    Data directories without the latter two are combined as well. UserError for a duplicate id, for what only some parts
    have, and for parts that were decoded in different ways.
    """
    whole = kaldi.combine([kaldi.read_dir(part) for part in part_dirs], part_dirs)
    posteriors, protocols = read_all(part_dirs, POSTERIORS), read_all(part_dirs, PROTOCOL)
    for part, protocol in zip(part_dirs if protocols else (), protocols, strict=True):
        if protocol != protocols[0]:
            raise UserError(f"{part / PROTOCOL}: differs from that of {part_dirs[0]}; decode all parts in the same way")
    with kaldi.replace_data_dir(out_dir) as new:
        for name, table in whole.items():
            kaldi.write_table(new / name, table)
        if posteriors:
            (new / POSTERIORS).write_bytes(b"".join(posteriors))
        if protocols:
            (new / PROTOCOL).write_bytes(protocols[0])


def read_all(part_dirs: Sequence[Path], name: str) -> list[bytes]:
    """The file's content in every part; none where no part has it."""
    lacking = [part for part in part_dirs if not (part / name).is_file()]
    if len(lacking) == len(part_dirs):
        return []
    if lacking:
        raise UserError(f"{lacking[0] / name}: no such file, though other parts have it; decode that part again")
    return [(part / name).read_bytes() for part in part_dirs]
