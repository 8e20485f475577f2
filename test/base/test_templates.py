"""Templates: what is escaped, what a tag leaves, what is missing."""

import pytest
from jinja2 import UndefinedError

from whisper_er.base.templates import render
from whisper_er.report.markup import element


def test_a_page_escapes_every_value_that_is_no_markup_and_markdown_none(tmp_path):
    for kind in ("html", "md"):
        (tmp_path / f"a.{kind}.j2").write_text("{{ text }} {{ made }} {{ shout('<i>') }}\n")

    def shout(text: str) -> str:
        return text.upper()

    values = {"text": "<b>'\"{{ 1 }}", "made": element("b", "<")}
    page, markdown = (render(tmp_path / f"a.{kind}.j2", shout, **values) for kind in ("html", "md"))
    assert page == "&lt;b&gt;&#39;&#34;{{ 1 }} <b>&lt;</b> &lt;I&gt;\n"
    assert markdown == "<b>'\"{{ 1 }} <b>&lt;</b> <I>\n"


def test_a_line_that_holds_a_tag_alone_leaves_nothing(tmp_path):
    (tmp_path / "a.md.j2").write_text("{% for name in names %}\n- {{ name }}\n{% endfor %}\n\nend\n")
    assert render(tmp_path / "a.md.j2", names=["a", "b"]) == "- a\n- b\n\nend\n"


def test_a_value_that_is_missing_is_an_error_and_no_gap(tmp_path):
    (tmp_path / "a.md.j2").write_text("{{ name }}")
    with pytest.raises(UndefinedError, match="name"):
        render(tmp_path / "a.md.j2")
