"""The reports in a real browser: sorted, filtered, played, by mouse and by keyboard, on a desktop and on a phone."""

import json
import time
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, Opened
from small_results import ERRORS_FIRST, NAMES, pairs_of, read_two_folds, write_fold, write_two_folds

from whisper_er.report.comparison import write_comparison
from whisper_er.report.experiment import write_report
from whisper_er.report.markup import Markup, element
from whisper_er.report.page import Section, page
from whisper_er.report.utterances import Column, plain, table_data
from whisper_er.score.comparison import compare
from whisper_er.score.results import common_task

ROWS = ".utterances tbody tr:not(.details)"
EMBEDDED_MB = 0.01  # a part of the eight sounds


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two experiments with their reports, and a comparison, all in out/."""
    root = tmp_path_factory.mktemp("pages")
    first, second = write_two_folds(root, name="old"), root / "exp/new"
    better = {
        "1": [("sad", "sad", 0.6), ("sad", "sad", 0.8), ("happy", "sad", 0.7), ("", "sad", 0.7)],
        "2": [("angry", "sad", 0.5), ("sad", "sad", 0.4), ("angry", "angry", 0.9), ("happy", "happy", 0.9)],
    }
    for fold, prefix in (("1", "a"), ("2", "b")):
        write_fold(second, fold, pairs_of(better[fold], prefix), root / f"dump/fold{fold}")
    both = (read_two_folds(first), read_two_folds(second))
    write_report(first, ["./run.sh"], [both[0]], EMBEDDED_MB)
    compared = compare(common_task("emotion", both), both[0].pairs, both[1].pairs)
    (root / "out").mkdir()
    write_comparison(root / "out", "compare", compared, ("old", "new"), both, 1)
    return root


@pytest.fixture
def report(browser, root):
    """The report of one experiment; whatever a test does with it, nothing complains and no network is asked."""
    with Opened(browser, root / "exp/old/report.html") as opened:
        yield opened
        assert opened.said == []
        assert all(url.startswith(("file:", "data:")) for url in opened.asked)


def ids(opened: Opened) -> list[str]:
    return opened.texts(f"{ROWS} th")


def test_the_table_opens_with_the_errors_first_and_can_be_sorted_by_any_column(report):
    assert ids(report) == ERRORS_FIRST
    report.expect(".status").to_have_text("8 of 8 utterances")
    heading = report.page.get_by_role("button", name="emotion: p")
    header = report.page.locator("th", has=heading)
    heading.click()
    shown = [float(text) for text in report.texts("[data-title='emotion: p']")]
    assert header.get_attribute("aria-sort") == "descending" and shown == sorted(shown, reverse=True)
    heading.click()
    assert header.get_attribute("aria-sort") == "ascending" and ids(report)[0] == "b01"
    report.page.get_by_role("button", name="utterance", exact=True).click()
    assert ids(report) == sorted(ERRORS_FIRST)
    for button in report.page.locator("thead button").all():
        if button.is_visible():
            button.click()
            assert sorted(ids(report)) == sorted(ERRORS_FIRST)
    report.page.get_by_label("order", exact=True).select_option(label="errors first")
    assert ids(report) == ERRORS_FIRST and report.page.locator("[aria-sort]").count() == 0
    report.page.get_by_role("button", name="descending").click()
    assert ids(report) == ERRORS_FIRST[::-1]


def test_filters_narrow_the_table_and_are_reset(report):
    report.page.get_by_label("emotion: answer").select_option("wrong")
    assert ids(report) == ["b00", "a01", "b03"]
    assert not report.page.locator(".more").is_visible()  # there are no more
    report.page.get_by_label("fold", exact=True).select_option("2")
    assert ids(report) == ["b00", "b03"]
    report.page.get_by_label("search ids and words").fill("THREE")  # heard in every second utterance
    report.expect(".status").to_have_text("1 of 8 utterances")
    assert ids(report) == ["b03"]
    report.page.get_by_label("speaker", exact=True).select_option("a-speaker0")
    report.expect(".status").to_have_text("No utterance has all of this (0 of 8 utterances).")
    report.page.get_by_role("button", name="Reset filters").click()
    assert ids(report) == ERRORS_FIRST
    report.page.get_by_text("More filters").click()
    report.page.get_by_label("asr: answer").select_option("right")
    assert ids(report) == [name for name in ERRORS_FIRST if int(name[1:]) % 2 == 0]


def test_a_cell_of_the_confusion_matrix_a_speaker_and_a_style_show_their_utterances(report):
    cell = report.page.get_by_role("button", name="emotion: 1 with reference happy, hypothesis sad")
    cell.click()
    assert ids(report) == ["b03"]
    assert report.page.evaluate("document.activeElement.id") == "utterances"
    report.page.get_by_role("button", name="a-speaker1: show these utterances").click()
    assert sorted(ids(report)) == ["a01", "a03"]
    report.page.get_by_role("button", name="improvised: show these utterances").click()
    assert len(ids(report)) == 4
    report.page.get_by_role("button", name="gender: 4 with reference male, hypothesis male").click()
    assert report.page.get_by_label("gender: hypothesis").is_visible() and len(ids(report)) == 4


@pytest.mark.parametrize("row, kind", [(0, "data:audio/mpeg"), (7, "file:")])
def test_an_utterance_plays_and_stops_whether_its_sound_is_embedded_or_linked(report, row, kind):
    button = report.page.locator(f"{ROWS} .play").nth(row)
    report.page.evaluate("document.querySelector('audio').loop = true")
    button.click()
    report.expect(f"[data-row='{row}'][aria-pressed='true']").to_be_visible()
    report.wait_until("document.querySelector('audio').currentTime > 0")
    assert report.page.evaluate("document.querySelector('audio').currentSrc").startswith(kind)
    assert ERRORS_FIRST[row] in report.texts(".player")[0]
    report.page.get_by_role("button", name="utterance", exact=True).click()  # what plays is marked in any order
    report.expect(f"[data-row='{row}'][aria-pressed='true']").to_be_visible()
    report.page.locator(f"[data-row='{row}']").click()
    report.expect(f"[data-row='{row}'][aria-pressed='false']").to_be_visible()
    assert report.page.evaluate("document.querySelector('audio').paused")


def test_a_sound_that_is_gone_is_said(browser, tmp_path):
    exp = write_two_folds(tmp_path)
    write_report(exp, ["command"], [read_two_folds(exp)], 0)
    (tmp_path / "dump/fold2/wav/b00.wav").unlink()
    with Opened(browser, exp / "report.html") as opened:
        opened.page.locator(".play").first.click()
        opened.expect(".player bdi").to_have_text("b00: cannot be played; was its file moved?")
        opened.page.locator(".play").nth(1).click()  # the next one does
        opened.expect(".play[aria-pressed='true']").to_have_count(1)


def test_the_keyboard_alone_reaches_sorts_filters_opens_and_plays(report):
    keys = report.page.keyboard
    keys.press("Tab")
    assert report.page.evaluate("document.activeElement.className") == "skip"
    keys.press("Enter")
    report.tab_to("input[type=search]")
    keys.type("b0")
    report.expect(".status").to_have_text("4 of 8 utterances")
    report.tab_to("thead th:nth-child(2) button")
    outline = report.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    keys.press("Enter")
    assert ids(report) == ["b00", "b01", "b02", "b03"]
    report.tab_to(".play")
    keys.press("Space")
    report.expect(".play[aria-pressed='true']").to_have_count(1)
    keys.press("Space")
    report.expect(".play[aria-pressed='true']").to_have_count(0)
    report.tab_to(".toggle")
    keys.press("Enter")
    report.expect(".toggle[aria-expanded='true']").to_have_count(1)
    details = report.texts("tr.details")[0]
    assert "asr: reference" in details and "0.950" in details and "said" in details


def test_the_keyboard_activates_a_cell_of_the_confusion_matrix(report):
    report.tab_to(".confusion button")
    report.page.keyboard.press("Enter")
    assert ids(report) == ["b02"] and report.page.evaluate("document.activeElement.id") == "utterances"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["exp/old/report.html", "out/comparison.html"])
def test_no_page_is_wider_than_its_window_and_none_complains(browser, root, name, size, scheme):
    with Opened(browser, root / name, size, scheme) as opened:
        for details in opened.page.locator("main details:visible").all():
            details.evaluate("node => node.open = true")
        opened.page.locator(".toggle").first.click()
        opened.page.locator(".play").first.click()
        assert opened.page.locator(".fill").first.bounding_box()["width"] > 20  # of the most probable label
        assert not opened.is_wider_than_its_window()
        assert opened.said == [] and opened.asked[0] == (root / name).as_uri()
        assert all(url.startswith("data:") for url in opened.asked[1:])


def luminance(colour: str) -> float:
    """Relative luminance of a #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa_in_either_scheme(browser, root, scheme):
    names = ["text", "quiet", "accent", "wrong", "right", "page", "panel"]
    with Opened(browser, root / "exp/old/report.html", scheme=scheme) as opened:
        read = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue('--' + n).trim())"
        colours = dict(zip(names, opened.page.evaluate(read, names)))
        painted = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert painted == "rgb({}, {}, {})".format(*(int(colours["page"][i : i + 2], 16) for i in (1, 3, 5)))
    for ground in ("page", "panel"):
        for name in names[:5]:
            low, high = sorted(map(luminance, (colours[name], colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, name, ground)


def test_what_labels_and_transcripts_hold_is_shown_as_it_is_and_not_run(browser, tmp_path):
    columns = [
        plain("speaker", "<i>speaker</i>", NAMES),
        Column(
            "task-emotion", NAMES[1], "category", [[i, 0, None] for i in range(len(NAMES))], ("reference",), NAMES, True
        ),
    ]
    data = table_data(columns, [f"{i}{name}" for i, name in enumerate(NAMES)], range(len(NAMES)), [None] * 8, NAMES[0])
    content = element("div", id="table")
    (tmp_path / "a.html").write_text(page(NAMES[1], Markup(), [Section("utterances", NAMES[0], content)], data, []))
    with Opened(browser, tmp_path / "a.html") as opened:
        assert [text.split("\n")[0] for text in opened.texts("[data-title='<i>speaker</i>']")] == NAMES
        assert opened.page.locator("img, tbody i").count() == 0 and opened.page.locator("script").count() == 2
        options = opened.page.get_by_label(f"{NAMES[1]}: reference").locator("option").all_text_contents()
        assert options == ["all", *NAMES]
        assert opened.said == [] and len(opened.asked) == 1


def test_the_comparison_opens_with_what_changed_hands(browser, root):
    with Opened(browser, root / "out/comparison.html") as opened:
        assert ids(opened) == ["b03", "a01", "a02"]
        opened.page.get_by_label("right", exact=True).select_option("only old")
        assert ids(opened) == ["a02"]
        opened.page.get_by_role("button", name="Reset filters").click()
        assert len(ids(opened)) == 7
        opened.page.locator("#confusion h3:text-is('new') ~ .scroll button").first.click()
        assert ids(opened) == ["b02"]


def test_every_cell_of_every_matrix_shows_as_many_utterances_as_it_says(browser, root):
    for name in ("out/comparison.html", "exp/old/report.html"):
        with Opened(browser, root / name) as opened:
            cells = opened.page.locator("#confusion .cell button, [id^=confusion] .cell button")
            assert cells.count() >= 4
            for cell in cells.all():
                opened.page.get_by_role("button", name="Reset filters").click()
                cell.click()
                assert len(ids(opened)) == int(cell.locator("small").inner_text()), cell.get_attribute("aria-label")


def test_an_answer_that_is_missing_is_shown_sorted_and_filtered_as_one(browser, tmp_path):
    emotion = [("sad", "", 0.4), ("sad", "sad", 0.6), ("angry", "", 0.4), ("happy", "sad", 0.7), ("", "", 0.4)]
    exp = tmp_path / "exp"
    for fold, prefix in (("1", "a"), ("2", "b")):
        write_fold(exp, fold, pairs_of(emotion, prefix), None)
    write_report(exp, ["./run.sh"], [read_two_folds(exp)], 0)
    with Opened(browser, exp / "report.html") as opened:
        opened.page.locator(".cell button[aria-label*='reference angry, hypothesis no answer']").click()
        assert ids(opened) == ["a02", "b02"]
        row = opened.page.locator(ROWS).first
        assert "angry" in row.inner_text() and "no answer" in row.inner_text()
        row.locator("button.toggle").click()
        opened.page.get_by_role("button", name="Reset filters").click()
        opened.page.get_by_role("button", name="emotion: p").click()
        assert len(ids(opened)) == 10
        assert opened.said == []


def test_five_thousand_utterances_are_drawn_in_parts_sorted_and_searched_at_once(browser, tmp_path):
    num = 5531
    labels = ["angry", "happy", "neutral", "sad"]
    emotion = [[i % 4, i % 7 % 4, [0.1, 0.2, 0.3, 0.4]] for i in range(num)]
    text = [
        ["some words here", f"some word{i} here", 1, [["=", "some"], ["-", "words"], ["+", f"word{i}"]]]
        for i in range(num)
    ]
    columns = [
        plain("speaker", "speaker", [f"s{i % 10}" for i in range(num)]),
        Column("task-asr", "asr", "text", text, ("answer",)),
        Column("task-emotion", "emotion", "category", emotion, ("answer",), labels, True),
    ]
    data = table_data(columns, [f"u{i:04d}" for i in range(num)], range(num), [None] * num, "errors first")
    section = Section("utterances", "Utterances", element("div", id="table"))
    (tmp_path / "a.html").write_text(page("large", Markup(), [section], data, []))
    start = time.monotonic()
    with Opened(browser, tmp_path / "a.html") as opened:
        opened.expect(".status").to_have_text("5,531 of 5,531 utterances, the first 100 shown")
        assert time.monotonic() - start < 5
        assert opened.page.locator(ROWS).count() == 100
        opened.page.get_by_role("button", name="Show 100 more of 5,431").click()
        assert opened.page.locator(ROWS).count() == 200
        assert opened.page.evaluate("document.activeElement.closest('tr').querySelector('th').innerText") == "u0100"
        click = (
            "name => { const t = performance.now(); document.querySelector(name).click();"
            "document.body.offsetHeight; return performance.now() - t }"
        )
        for i in range(2, 7):  # milliseconds; 0.1 s on an idle core
            assert opened.page.evaluate(click, f"thead th:nth-child({i}) button") < 1500, i
        opened.page.get_by_label("search ids and words").fill("word5530")
        opened.expect(".status").to_have_text("1 of 5,531 utterances")
        assert ids(opened) == ["u5530"] and opened.said == []


def test_the_data_of_the_page_is_what_the_page_shows(report):
    shown = json.loads(report.page.evaluate("document.getElementById('data').textContent"))
    assert [row[0] for row in shown["rows"]] == ids(report)
