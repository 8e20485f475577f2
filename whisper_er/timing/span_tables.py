"""Tables of labelled stretches: `<recording> <start> <end> <label>` a line, or NIST's RTTM."""

import math
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.timing.spans import Span, overlapping

ALLOWED = "allowed are lines of `<recording> <start> <end> <label>`, in seconds, and SPEAKER lines of RTTM"


def read_spans(path: Path) -> dict[str, list[Span]]:
    """Recording -> its stretches, in the order of the file. UserError for a line that is neither."""
    found: dict[str, list[Span]] = {}
    for number, line in enumerate(lines_of(path), start=1):
        if not (fields := line.split()) or line.startswith(";;"):  # a comment of RTTM
            continue
        where = f"{path}, line {number}"
        if len(fields) == 4:
            recording, (start, end), label = fields[0], seconds(fields[1:3], where), fields[3]
        elif len(fields) in (9, 10) and fields[0] == "SPEAKER":
            recording, (start, length), label = fields[1], seconds(fields[3:5], where), fields[7]
            end = round(start + length, 6)  # 0.1 + 0.2 is more than 0.3, where the next one may start
        else:
            raise UserError(f"{where}: '{line[:80]}'; {ALLOWED}")
        if end < start:
            raise UserError(f"{where}: ends at {end:g} s, before it starts at {start:g} s; mend the times")
        found.setdefault(recording, []).append(Span(start, end, label, 1.0))
    return found


def read_reference(path: Path) -> dict[str, list[Span]]:
    """The same; UserError for an empty file, and where two stretches of a recording overlap."""
    found = read_spans(path)
    if not found:
        raise UserError(f"{path}: names no recording; {ALLOWED}")
    for recording, spans in found.items():
        if pair := overlapping(spans):
            first, second = (f"{span.label} {span.start:g} to {span.end:g}" for span in pair)
            raise UserError(f"{path}: {recording}: {first} and {second} overlap; a reference has one label at a time")
    return found


def read_seconds(path: Path) -> dict[str, float]:
    """Recording -> its length, of `<recording> <seconds>` a line."""
    found = {}
    for number, line in enumerate(lines_of(path), start=1):
        if fields := line.split():
            where = f"{path}, line {number}"
            if len(fields) != 2:
                raise UserError(f"{where}: '{line[:80]}'; allowed are lines of `<recording> <seconds>`")
            found[fields[0]] = seconds(fields[1:], where)[0]
    return found


def lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; convert it, e.g. with iconv -t UTF-8") from None


def seconds(words: list[str], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [math.nan]
    if not all(0 <= value < math.inf for value in values):
        raise UserError(f"{where}: times '{' '.join(words)}' are not seconds from 0; mend them")
    return values
