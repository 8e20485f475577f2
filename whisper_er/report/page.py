"""What page.html.j2 is filled with: sections, style, script, what may be loaded (nothing from elsewhere).

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

from whisper_er.base.templates import render
from whisper_er.report.markup import Markup

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
    html = render(
        HERE / "page.html.j2",
        policy=policy(style, script),
        title=title,
        style=Markup(style),
        about=about,
        sections=sections,
        data=unescaped(script_safe(data)),
        script=Markup(script),
        sounds=map(unescaped, sounds),
    )
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", html)


def policy(style: str, script: str) -> str:
    """Sound may come from the page itself and from files beside it; 'self' is for a page that a web server shows."""
    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
        "media-src data: file: 'self'; base-uri 'none'; form-action 'none'"
    )


def digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def unescaped(content: str) -> Markup:
    """What is in a script element is not escaped; content has no `<`."""
    assert "<" not in content
    return Markup(content)


def script_safe(data: object) -> str:
    """JSON that cannot end the script element which holds it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\x7f", "\\u007f")
