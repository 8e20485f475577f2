"""Data directories in Kaldi's manner: read, write, validate, subset, combine.

A directory holds tables, one `id value...` a line, UTF-8: `wav.scp` (id -> file, `command |` or file.ark:offset),
`text`, `utt2spk`, one `utt2<task>` per label task (see `label_table`), `utt2<task>_votes` (votes.py), `utt2fold`,
`utt2prev` (dialogue.py), and `segments` (utterance -> recording start end, in seconds) where wav.scp is keyed by
recording. Every other table lists every utterance; an id alone on its line is an empty transcript or, in `utt2<task>`,
an utterance that has no label.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.files import replace_dir
from whisper_er.base.packed_strings import PackedStrings
from whisper_er.base.spelling import check_spelling
from whisper_er.data.labels import check_names

Table = dict[str, str]
DataDir = dict[str, Table]  # file name -> table
Columns = dict[str, PackedStrings]  # file name -> values in the order of the ids

ABOUT = ".about"  # of a data directory: what became of its labels, in one line for the protocol; may be missing
AUDIO = "wav"  # a dump directory's folder of the audio that format_data wrote
PREVIOUS_TABLE = "utt2prev"  # dialogue.py
TABLE_NAME = re.compile(r"wav\.scp|segments|text|utt2[^.~]+")  # an editor's text~ or utt2spk.bak is not a table
# Ids become file names, words of a line and words on a terminal. Zero-width joiners do not print but belong to some
# scripts, and are allowed; a byte order mark is not: at the start of a file, it vanishes.
_NEVER = r"\s/\0-\x1f\x7f-\x9f\ufeff"
ID = re.compile(rf"[^.{_NEVER}-][^{_NEVER}]*")
ID_RULE = "an id holds no white space, no control character and no '/', and does not start with '.' or '-'"


def make_id(name: str) -> str:
    """The name with `_` for each character that an id may not hold; different names may give the same id."""
    return re.sub(rf"^[.-]|[{_NEVER}]", "_", name)


def read_table(path: Path) -> Table:
    """Read one table, in the order of its lines; UserError for a missing file, a duplicate id, bytes outside UTF-8."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        content = path.read_text(encoding="utf-8-sig")  # -sig: a byte order mark would become part of the first id
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; convert it, e.g. with iconv -t UTF-8") from error
    table: Table = {}
    for number, line in enumerate(content.removesuffix("\n").split("\n") if content else (), start=1):
        if not line or line[0].isspace():
            raise UserError(f"{path}: line {number} has no id; each line is `id value`, without blank lines")
        parts = line.split(maxsplit=1)
        key = parts[0]
        if key in table:
            raise UserError(f"{path}: duplicate id {key!r} in line {number}; each id is listed once")
        table[key] = parts[1].rstrip() if len(parts) > 1 else ""
    return table


def write_table(path: Path, table: Table) -> None:
    """Write one table, sorted in C order; UserError for an id or a value that would not be read back as it is."""
    lines = []
    for key in sorted(table):  # code points sort as their UTF-8 bytes do, which is the C order
        value = table[key]
        if not ID.fullmatch(key):
            raise UserError(f"{path}: bad id {key!r}; {ID_RULE}")
        if "\n" in value or "\r" in value:
            raise UserError(f"{path}: the value of {key!r} has a line break; a value is one line")
        if value != value.strip():
            raise UserError(f"{path}: the value of {key!r} has white space at an end, which would not be read back")
        lines.append(f"{key} {value}\n" if value else f"{key}\n")
    try:
        content = "".join(lines).encode()
    except UnicodeEncodeError as error:  # of a file name that is not UTF-8, Python keeps the odd bytes as surrogates
        odd = lines[error.object.count("\n", 0, error.start)].rstrip()
        raise UserError(f"{path}: not UTF-8: {odd!r}; rename the file or the directory") from error
    path.write_bytes(content)


def read_dir(path: Path) -> DataDir:
    """Read all of wav.scp, segments, text and utt2* that exist."""
    data = {name: read_table(path / name) for name in _table_names(path)}
    if not data:
        raise UserError(f"{path}: not a data directory: it has none of wav.scp, text, utt2*")
    return data


def write_dir(path: Path, data: DataDir) -> None:
    """Write all tables as the directory `path`, which appears, or is replaced, whole."""
    with replace_data_dir(path) as new:
        for name, table in data.items():
            write_table(new / name, table)


def replace_data_dir(path: Path) -> AbstractContextManager[Path]:
    """replace_dir for a data directory: UserError where `path` holds something else."""
    return replace_dir(path, lambda directory: bool(_table_names(directory)))


def utterances(data: DataDir) -> list[str]:
    """Return the utterance ids, sorted in C order. A hypothesis directory, without wav.scp, has those of utt2spk."""
    for name in ("segments", "wav.scp", "utt2spk"):
        if name in data:
            return sorted(data[name])
    raise UserError("none of segments, wav.scp and utt2spk, which list the utterances; run validate_data_dir")


def segment(data: DataDir, utt_id: str) -> tuple[str, float, float]:
    """Parse a line of `segments`: recording id, start and end in seconds; ValueError where it is none."""
    recording, start, end = data["segments"][utt_id].split()
    if not 0 <= float(start) < float(end) < float("inf"):
        raise ValueError
    return recording, float(start), float(end)


def validate(path: Path, data: DataDir, tasks: Sequence[str] = ()) -> None:
    """UserError where the directory `path` with the tables `data` is not ready for the tasks.

    Required are wav.scp and utt2spk, `text` for the task asr, `label_table` for any other; the order of lines is free.
    """
    named = _require(path, data, tasks)
    source = path / ("segments" if "segments" in data else "wav.scp")
    utt_ids = _sorted_ids(path, data[source.name])
    for name, table in data.items():
        recordings = name == "wav.scp" and "segments" in data
        _validate_table(path / name, table, source, None if recordings else utt_ids, named)
    if "segments" in data:
        _validate_segments(source, data)


def read_columns(path: Path, names: Collection[str], tasks: Sequence[str] = ()) -> tuple[PackedStrings, Columns]:
    """The ids in C order, and the values of the tables `names`, as far as they exist, in the order of the ids.

    For directories without segments. All tables are validated as in `validate`, but one at a time is in memory: those
    of a million utterances together take 2 GB.
    """
    present = sorted(_table_names(path), key="wav.scp".__ne__)  # it comes first: the others are checked against it
    named = _require(path, present, tasks)
    if "segments" in present:
        raise UserError(f"{path / 'segments'}: allowed are whole files; run stage 1 (format_data), which cuts segments")
    source, utt_ids, columns = path / "wav.scp", [], {}
    for name in present:
        table = read_table(path / name)
        utt_ids = utt_ids or _sorted_ids(path, table)
        _validate_table(path / name, table, source, utt_ids, named)
        if asked := [one for one in names if label_table(path, one) == name]:
            columns |= dict.fromkeys(asked, PackedStrings(table[utt_id] for utt_id in utt_ids))
        del table  # before the next one is read
    return PackedStrings(utt_ids), columns


def label_table(directory: Path, table: str) -> str:
    """The table that a task's labels are read from: without utt2speaker, those of the task speaker are in utt2spk."""
    return "utt2spk" if table == "utt2speaker" and not (directory / table).is_file() else table


def _require(path: Path, names: Collection[str], tasks: Sequence[str]) -> set[str]:
    """UserError for a table that is missing; which of the tables hold speakers or labels of the tasks."""
    tables = {"utt2spk", *(label_table(path, f"utt2{task}") for task in tasks if task != "asr")}
    for name in ("wav.scp", *(["text"] if "asr" in tasks else []), *sorted(tables)):
        if name not in names:
            task = "asr" if name == "text" else name.removeprefix("utt2")
            way_out = f", or leave {task} out of --tasks" if task in tasks else ""
            raise UserError(f"{path / name}: no such file; local/data.sh has to write it{way_out}")
    return tables


def _sorted_ids(path: Path, table: Table) -> list[str]:
    if not table:
        raise UserError(f"{path}: the set is empty: it lists no utterance")
    return sorted(table)


def _validate_table(file: Path, table: Table, source: Path, utt_ids: list[str] | None, named: set[str]) -> None:
    """utt_ids: the ids of `source`, which the table must list as well; None for a table of other ids. named: tables of
    speakers and labels."""
    if file.name in ("wav.scp", "utt2spk"):
        _reject(file, [key for key, value in table.items() if not value], "ids without a value; each needs one")
    if file == source or utt_ids is None or list(table) != utt_ids:
        _reject(file, [key for key in table if not ID.fullmatch(key)], f"bad ids; {ID_RULE}")
    if file == source or utt_ids is None:  # not of case: the ids of some archives differ in nothing else
        check_spelling(f"{file}: ids", table, case=False)
    if file.name in named:
        check_names(file, table)
    if utt_ids is not None and list(table) != utt_ids:
        wanted = set(utt_ids)
        _reject(file, [key for key in utt_ids if key not in table], f"ids of {source} are missing; list every id")
        _reject(file, [key for key in table if key not in wanted], f"ids are not in {source}; remove or add them")


def subset(data: DataDir, utt_ids: Iterable[str]) -> DataDir:
    """Return the same tables for these utterances only; of the recordings, those that their segments need."""
    utt_ids = list(utt_ids)
    part = {}
    for name, table in data.items():
        keys = utt_ids
        if name == "wav.scp" and "segments" in data:
            lines = (data["segments"].get(utt_id, "") for utt_id in utt_ids)
            keys = list(dict.fromkeys(word for line in lines for word in line.split()[:1]))
        missing = [key for key in keys if key not in table]
        if missing:
            raise UserError(
                f"{name}: no utterance {first_few(map(repr, missing))}; run validate_data_dir on the data directory"
            )
        part[name] = {key: table[key] for key in keys}
    return part


def split_dir(data_dir: Path, num_parts: int, out_dir: Path, keep_dialogues: bool = False) -> None:
    """Write out_dir/1 .. out_dir/<num_parts>: runs of neighbouring utterances, whose numbers differ by one at most.

    keep_dialogues: of whole dialogues, by utt2prev, whose numbers do.
    """
    data = read_dir(data_dir)
    validate(data_dir, data)
    runs = dialogues(data) if keep_dialogues else [[utt_id] for utt_id in utterances(data)]
    if not 1 <= num_parts <= len(runs):
        what = ", one for each dialogue at most" if keep_dialogues else ""
        raise UserError(f"{data_dir}: cannot be split into {num_parts} parts; allowed are 1 to {len(runs)}{what} (--n)")
    bounds = [len(runs) * part // num_parts for part in range(num_parts + 1)]
    for part in range(num_parts):
        own = [utt_id for run in runs[bounds[part] : bounds[part + 1]] for utt_id in run]
        write_dir(out_dir / str(part + 1), subset(data, own))


def dialogues(data: DataDir) -> list[list[str]]:
    """The utterance ids of each dialogue, by utt2prev; without such a table each utterance is one."""
    previous, first = data.get(PREVIOUS_TABLE, {}), {}
    for utt_id in utterances(data):
        path = [utt_id]
        while (before := previous.get(path[-1])) in previous and before not in first and before not in path:
            path.append(before)
        first |= dict.fromkeys(path, first.get(before, path[-1]))
    runs: dict[str, list[str]] = {}
    for utt_id in sorted(first):
        runs.setdefault(first[utt_id], []).append(utt_id)
    return list(runs.values())


def combine(parts: Sequence[DataDir], names: Sequence[object] = ()) -> DataDir:
    """Return one directory with the utterances of all parts; UserError for a duplicate id or a table not in all.

    `names` are the parts' names for the messages. Parts may share recordings, but not utterances.
    """
    names = names or [f"part {number}" for number in range(1, len(parts) + 1)]
    combined: DataDir = {}
    for part, name in zip(parts, names, strict=True):
        odd = sorted(part.keys() ^ parts[0].keys())
        if odd:
            raise UserError(f"{name}: cannot be combined with {names[0]}: only one of them has {', '.join(odd)}")
        for file, table in part.items():
            merged = combined.setdefault(file, {})
            duplicates = sorted(table.keys() & merged.keys())
            if file == "wav.scp" and "segments" in part:
                duplicates = [key for key in duplicates if table[key] != merged[key]]
            if duplicates:
                raise UserError(
                    f"{name}: {file}: duplicate id {first_few(map(repr, duplicates))}: an earlier part has it as well"
                )
            merged.update(table)
    return combined


def shared_speakers(a: DataDir, b: DataDir) -> set[str]:
    """Return the speakers that have utterances in both."""
    return set(a["utt2spk"].values()) & set(b["utt2spk"].values())


def _table_names(path: Path) -> list[str]:
    if not path.is_dir():
        raise UserError(f"{path}: no such data directory")
    return sorted(file.name for file in path.iterdir() if TABLE_NAME.fullmatch(file.name) and file.is_file())


def _validate_segments(file: Path, data: DataDir) -> None:
    bad, homeless = [], []
    for utt_id in data["segments"]:
        try:
            recording, _, _ = segment(data, utt_id)
        except ValueError:
            bad.append(utt_id)
        else:
            if recording not in data["wav.scp"]:
                homeless.append(utt_id)
    _reject(file, bad, "lines are not `utterance recording start end` with 0 <= start < end in seconds")
    _reject(file, homeless, "utterances name a recording that is not in wav.scp")


def _reject(file: Path, keys: list[str], what: str) -> None:
    if keys:
        raise UserError(f"{file}: {len(keys)} {what}: {first_few(map(repr, keys))}")
