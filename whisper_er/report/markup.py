"""HTML and SVG that cannot be broken out of: every string is escaped, unless this module made it."""

import html
from collections.abc import Iterable, Sequence

VOID = {"meta", "br", "img"}  # have no end tag


class Markup(str):
    """HTML that `element` or `join` made. Any other string is text."""

    def __html__(self) -> str:
        """For jinja2, which escapes what has it not."""
        return self


def escape(text: str) -> Markup:
    return text if isinstance(text, Markup) else Markup(html.escape(text))


def join(parts: Iterable[str]) -> Markup:
    return Markup("".join(map(escape, parts)))


def element(name: str, /, *children: str, **attributes: str | int | bool) -> Markup:
    """<name attributes>children</name>. class_ is class, aria_label is aria-label; False and "" leave one out."""
    words = [name]
    for key, value in attributes.items():
        if value is True:
            words.append(attribute_name(key))
        elif value is not False and value != "":
            words.append(f'{attribute_name(key)}="{html.escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if name in VOID else f"{start}{join(children)}</{name}>")


def attribute_name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def table(rows: Sequence[Sequence[str]], caption: str) -> Markup:
    """The first row is the heading; the first cell of each other names it."""
    heading, *others = rows
    head = element("tr", *(element("th", cell, scope="col") for cell in heading))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
        for first, *cells in others
    ]
    return framed(caption, head, body)


def framed(caption: str, head: Markup, body: Sequence[Markup], class_: str = "") -> Markup:
    """A table of a heading row and others, that scrolls in its own region."""
    named = element("caption", caption)
    inner = element("table", named, element("thead", head), element("tbody", *body), class_=class_)
    return scrolling(inner, caption)


def scrolling(content: Markup, name: str) -> Markup:
    """What may be wider than the page; a keyboard can scroll it."""
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=name)


def code(line: str) -> Markup:
    """A line of text with `quoted` parts, as RESULTS.md has them."""
    return join(element("code", part) if i % 2 else part for i, part in enumerate(line.split("`")))


def bullets(lines: Iterable[str]) -> Markup:
    return element("ul", *(element("li", code(line)) for line in lines))


def paragraph(*children: str, class_: str = "") -> Markup:
    return element("p", *children, class_=class_)
