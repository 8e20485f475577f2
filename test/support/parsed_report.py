"""report.html as a test reads it."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

from small_results import (
    read_two_folds,
)

from whisper_er.report.experiment import write_report


class Parsed(HTMLParser):
    """A file that has to be well formed. tables: caption -> rows of cells; blocks: id -> text of a script."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.blocks: dict[str, str] = {}
        self.text, self.rows, self.caption = "", [], ""
        self.feed(self.source)
        assert self.open == [], "these are never closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("meta", "br"):
            return
        self.open.append(tag)
        if tag == "table":
            self.rows, self.caption = [], ""
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            attrs = self.tags[-1][1]
            self.blocks[attrs.get("id", self.open[-1])] = data
            return
        self.text += data
        if "caption" in self.open:
            self.caption += data
        elif {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def data(self) -> dict:
        return json.loads(self.blocks["data"])

    def sounds(self) -> list[bytes]:
        names = [f"sound-{i}" for i in range(len(self.blocks)) if f"sound-{i}" in self.blocks]
        return [base64.b64decode(self.blocks[name]) for name in names]


def rewritten(exp: Path, audio_mb: float = 1.0) -> Parsed:
    write_report(exp, ["command"], [read_two_folds(exp)], audio_mb)
    return Parsed(exp / "report.html")
