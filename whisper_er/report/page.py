"""The page around the sections: style, script, what may be loaded (nothing from elsewhere), navigation.

Everything is in the file. The browser enforces it: of a Content-Security-Policy that names the one style and the one
script by their digests, nothing else that a label or a transcript might smuggle in would run.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_er.report.markup import Markup, element, join

HERE = Path(__file__).parent
UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f]")  # a parser would replace or complain about them


@dataclass(frozen=True)
class Section:
    """key: the anchor; title: the heading, also in the navigation."""

    key: str
    title: str
    content: Markup


def page(title: str, about: Markup, sections: Sequence[Section], data: object, sounds: Sequence[str]) -> str:
    """The whole file.

    data: of the table of utterances, for report.js; sounds: MP3 in base64, which come last, so that the page can be
    used before they are read.
    """
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Markup(f"<style>{style}</style>"),
    )
    links = [element("li", element("a", section.title, href=f"#{section.key}")) for section in sections]
    body = element(
        "body",
        element("a", f"Skip to: {sections[-1].title}", href=f"#{sections[-1].key}", class_="skip"),
        element("header", element("h1", title), about),
        element("nav", element("ul", *links), aria_label="Sections"),
        element("main", *map(show, sections)),
        data_block("data", "application/json", script_safe(data)),
        Markup(f"<script>{script}</script>"),
        *(data_block(f"sound-{i}", "text/plain", sound) for i, sound in enumerate(sounds)),
    )
    return f"<!doctype html>\n{UNPRINTABLE.sub(chr(0xFFFD), element('html', head, body, lang='en'))}\n"


def show(section: Section) -> Markup:
    heading = element("h2", section.title, id=f"{section.key}-title")
    return element(
        "section", heading, section.content, id=section.key, tabindex=-1, aria_labelledby=f"{section.key}-title"
    )


def policy(style: str, script: str) -> str:
    """Sound may come from the page itself and from files beside it; 'self' is for a page that a web server shows."""
    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
        "media-src data: file: 'self'; base-uri 'none'; form-action 'none'"
    )


def digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def data_block(key: str, kind: str, content: str) -> Markup:
    """content has no `<`: what is in a script element is not escaped."""
    assert "<" not in content
    return join([Markup(f'\n<script type="{kind}" id="{key}">'), Markup(content), Markup("</script>")])


def script_safe(data: object) -> str:
    """JSON that cannot end the script element which holds it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\x7f", "\\u007f")
