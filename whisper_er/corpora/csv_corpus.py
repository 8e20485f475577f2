"""Audio files and a CSV with a row for each -> the tables of a data directory.

The CSV may come from Excel: UTF-8 with or without a byte order mark (or another encoding, which has to be named),
any line ends, cells in quotes, separated by comma, semicolon or tab. Standard library only.
"""

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.spelling import check_spelling
from whisper_er.corpora.published_corpus import AUDIO_SUFFIXES
from whisper_er.data.kaldi import DataDir, make_id
from whisper_er.task import MISSING, check_label, check_present

DELIMITERS = ",;\t"
AUDIO, SPEAKER, TEXT = "wav.scp", "utt2spk", "text"
REQUIRED = {
    AUDIO: "the column with the audio files",
    SPEAKER: "the column with the speakers, who decide what may be in training and what in test (where nobody knows "
    "them, the column of the files: every utterance a speaker of its own)",
}
MOST_SHOWN = 20  # different values of a column that are printed with their counts


@dataclass(frozen=True)
class Row:
    """One utterance. line: where its row begins, from 1; cells: by column, without white space at their ends."""

    line: int
    cells: dict[str, str]


def read_rows(path: Path, columns: Iterable[str], encoding: str = "utf-8") -> list[Row]:
    """The rows below the header that are not empty. UserError: a column is missing, a row has another number of cells.

    The delimiter is the one by which the header has most of `columns`.
    """
    text, columns = read_text(path, encoding), list(dict.fromkeys(columns))
    headers = {delimiter: read_header(text, delimiter) for delimiter in DELIMITERS}
    delimiter = max(headers, key=lambda d: (len(set(columns) & set(headers[d])), len(headers[d])))
    header = headers[delimiter]
    if missing := [column for column in columns if column not in header]:
        raise UserError(f"{path}: no column {' | '.join(missing)}; the columns are {' | '.join(header) or 'none'}")
    if repeated := [column for column in columns if header.count(column) > 1]:
        raise UserError(f"{path}: two columns are called {repeated[0]}; rename one")
    rows = []
    for line, cells in list(split(path, text, delimiter))[1:]:
        if len(cells) != len(header) and any(cells):
            raise UserError(
                f"{path}: line {line} has {len(cells)} cells, the header has {len(header)}; a cell that "
                f"holds '{delimiter}' or a quote needs quotes around it, as a spreadsheet writes them"
            )
        if any(cells):
            rows.append(Row(line, dict(zip(header, cells))))
    if not rows:
        raise UserError(f"{path}: no rows below the header")
    return rows


def read_text(path: Path, encoding: str) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return path.read_bytes().decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise UserError(f"--encoding '{encoding}' is not known; such are utf-8, utf-16, cp1252, latin-1") from None
    except UnicodeError as error:
        raise UserError(
            f"{path}: not {encoding} ({error}); save it as 'CSV UTF-8', or name its encoding, such as "
            "--encoding cp1252 (Excel on Windows) or --encoding utf-16"
        ) from None


def read_header(text: str, delimiter: str) -> list[str]:
    """Column names, read leniently, since the delimiter may be the wrong one."""
    try:
        return [tidy(cell) for cell in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])]
    except csv.Error:
        return []


def tidy(cell: str) -> str:
    """The cell without white space at its ends, and with single spaces within."""
    return " ".join(cell.split())


def split(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of every row, the header's first."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, [tidy(cell) for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}: line {line}: {error}; quotes around a cell come in pairs, and quotes within it are "
            'doubled: "she said ""no"""'
        ) from None


def tables(path: Path, rows: list[Row], audio_dir: Path, columns: dict[str, str]) -> DataDir:
    """The data directory of the rows. columns: table -> column, also for wav.scp and utt2spk; ids come from file names.

    UserError, with the lines: a missing file, two rows for one id, no speaker, a label that cannot be one.
    """
    for table, what in REQUIRED.items():
        if table not in columns:
            raise UserError(f"{table}=COLUMN is missing: {what}")
    if not audio_dir.is_dir():
        raise UserError(f"{audio_dir}: no such directory; --audio_dir is the one that holds the audio files")
    files = [find_file(audio_dir, row.cells[columns[AUDIO]]) for row in rows]
    reject(
        path,
        rows,
        [file is None for file in files],
        columns[AUDIO],
        f"no such audio file in {audio_dir} (a column may hold paths below it, the suffix may be left out)",
    )
    ids = [make_id(os.path.splitext(os.path.relpath(file, audio_dir))[0]) for file in files]
    first: dict[str, int] = {}
    for row, utt_id in zip(rows, ids):
        if (line := first.setdefault(utt_id, row.line)) != row.line:
            raise UserError(
                f"{path}: lines {line} and {row.line} both give the utterance id {utt_id}: one file twice, "
                "or two names that only differ in what an id may not hold; remove a row or rename a file"
            )
    reject(
        path,
        rows,
        [row.cells[columns[SPEAKER]] in ("", *MISSING) for row in rows],
        columns[SPEAKER],
        "no speaker; every utterance needs one",
    )
    data: DataDir = {AUDIO: dict(zip(ids, map(os.path.abspath, files)))}
    for table, column in columns.items():
        if table in (SPEAKER, TEXT):
            data[table] = {utt_id: row.cells[column] for utt_id, row in zip(ids, rows)}
        elif table != AUDIO:
            data[table] = {utt_id: to_label(path, row, column) for utt_id, row in zip(ids, rows)}
        if table not in (AUDIO, TEXT):
            check_spelling(f"{path}: column {column}", {label: utt_id for utt_id, label in data[table].items()})
    return data


def find_file(audio_dir: Path, name: str) -> Path | None:
    """The file that a cell names: with or without suffix, in either form of accents, with the slashes of Windows."""
    spellings = (name, name.replace("\\", "/"), *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    for spelling in dict.fromkeys(spellings) if name else ():
        for suffix in ("", *AUDIO_SUFFIXES):
            if os.path.isfile(path := audio_dir / f"{spelling}{suffix}"):  # also False for an impossible name
                return path
    return None


def reject(path: Path, rows: list[Row], wrong: list[bool], column: str, what: str) -> None:
    """UserError that lists the rows marked `wrong`."""
    if bad := [f"line {row.line} '{row.cells[column]}'" for row, is_wrong in zip(rows, wrong) if is_wrong]:
        raise UserError(f"{path}: column {column}: {first_few(bad)}: {what}")


def to_label(path: Path, row: Row, column: str) -> str:
    """The cell as a label: white space, which a token cannot have, becomes _."""
    label = row.cells[column].replace(" ", "_")
    where = f"{path}: line {row.line}: column {column}"
    check_label(label, where)
    check_present(label, where)
    return label


def unlisted(audio_dir: Path, data: DataDir) -> list[str]:
    """Audio files below the directory that the tables do not list. Hidden ones, such as a Mac's `._*`, do not count."""
    listed_paths = set(data[AUDIO].values())
    suffixes = {*AUDIO_SUFFIXES, *(os.path.splitext(path)[1] for path in listed_paths)}
    paths = (path for path in audio_dir.rglob("*") if path.suffix in suffixes and not path.name.startswith("."))
    return sorted(str(path) for path in paths if os.path.abspath(path) not in listed_paths)


def report(data: DataDir) -> list[str]:
    """A line per table with the counts of its values, in which a misspelt label shows."""
    lines = []
    for table, values in data.items():
        count = Counter(filter(None, values.values()))
        empty = len(values) - count.total()
        if table in (AUDIO, TEXT):
            summary = f"{count.total()}"
        elif len(count) > MOST_SHOWN:
            summary = f"{len(count)} different values"
        else:
            summary = ", ".join(f"{value} {number}" for value, number in sorted(count.items()))
        lines.append(f"  {table}: {summary}" + (f"; {empty} empty" if empty else ""))
    return lines
