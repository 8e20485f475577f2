"""Figures that somebody else has published, from a CSV: corpus,system,ua,wa,f1,source, in percent; ua, wa and f1 may
be empty."""

import csv
from dataclasses import dataclass
from pathlib import Path

from whisper_er.base.errors import UserError

COLUMNS = ("corpus", "system", "ua", "wa", "f1", "source")
FIGURES = ("ua", "wa", "f1")


@dataclass(frozen=True)
class Published:
    """A line of the file; figures as they are written there."""

    corpus: str
    system: str
    ua: str
    wa: str
    f1: str
    source: str


def read_published(path: Path) -> list[Published]:
    """UserError, with the line: another header, a missing name, a figure that is no percentage."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(lines, [])]
            if sorted(header) != sorted(COLUMNS):
                raise UserError(f"{path}: line 1 is '{','.join(header)}'; write the columns {','.join(COLUMNS)}")
            return [read_line(f"{path}: line {lines.line_num}", header, cells) for cells in lines if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); it is a CSV in UTF-8") from None


def read_line(where: str, header: list[str], cells: list[str]) -> Published:
    if len(cells) != len(header):
        raise UserError(f"{where} has {len(cells)} cells; the header has {len(header)} (quote a cell that has a comma)")
    line = {name: " ".join(cell.split()) for name, cell in zip(header, cells)}
    if empty := [name for name in COLUMNS if name not in FIGURES and not line[name]]:
        raise UserError(f"{where} has no {empty[0]}")
    for name in FIGURES:
        if line[name] and not is_percentage(line[name]):
            raise UserError(f"{where}: {name} is '{line[name]}'; write a percentage, such as 72.9, or nothing")
    return Published(**line)


def is_percentage(text: str) -> bool:
    try:
        return 0 <= float(text) <= 100
    except ValueError:
        return False
