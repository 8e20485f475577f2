"""Emotion Diarization Error Rate: hand-computed cases, files, what is refused."""

import pytest
from tiny_experiment import call

from whisper_er.base.errors import UserError
from whisper_er.bin import eder
from whisper_er.recognize.formats import as_rttm
from whisper_er.recognize.result import Recognition, Segment
from whisper_er.timing.eder import DiarizationErrors, count_errors, pooled
from whisper_er.timing.span_tables import read_reference
from whisper_er.timing.spans import Span

TRUE = [Span(0, 2, "neutral", 1), Span(2, 5, "angry", 1), Span(5, 10, "neutral", 1)]  # as in ZED: one emotion


def spans(*rows: tuple[float, float, str]) -> list[Span]:
    return [Span(*row, 1.0) for row in rows]


@pytest.mark.parametrize("found, false_alarm, missed, confusion, overlap", [
    (spans((2, 5, "angry")), 0, 0, 0, 0),
    ([], 0, 3, 0, 0),
    (spans((0, 10, "neutral")), 0, 3, 0, 0),
    (spans((0, 10, "angry")), 7, 0, 0, 0),
    (spans((2, 5, "happy")), 0, 0, 3, 0),
    (spans((1, 4, "angry"), (4, 6, "sad")), 2, 0, 1, 0),
    (spans((2, 5, "angry"), (4, 6, "sad")), 1, 0, 0, 1),  # both of 4 to 5
    (spans((4, 8, "happy"), (4, 7, "sad")), 3, 2, 1, 0),  # a second counts once, whatever is found in it
    (spans((2, 5, "angry"), (9, 12, "angry")), 1, 0, 0, 0),  # what lies behind the end is no error
])  # fmt: skip
def test_seconds_of_each_kind_of_error(found, false_alarm, missed, confusion, overlap):
    errors = count_errors(TRUE, found, 10.0)
    assert errors == DiarizationErrors(false_alarm, missed, confusion, overlap, 10.0)
    assert errors.rate == pytest.approx((false_alarm + missed + confusion + overlap) / 10)


def test_the_rate_is_that_of_windows_of_a_fifth_of_a_second():
    """The example of the authors' code: three windows neutral, three angry; where no window is they count an error,
    here 0.02 s of 1.22, which we count as neutral."""
    errors = count_errors(spans((0.39, 1.10, "a")), spans((0, 0.6, "n"), (0.6, 1.2, "a")), 1.22)
    assert errors.rate == pytest.approx(0.2704918032786885 - 0.02 / 1.22)


def test_recordings_are_pooled_by_their_seconds():
    assert pooled([DiarizationErrors(1, 0, 0, 0, 2), DiarizationErrors(0, 1, 0, 0, 6)]).rate == 0.25


def test_tables_and_rttm_give_the_rate(tmp_path, capsys):
    (tmp_path / "ref").write_text("a 0 2 neutral\na 2 5 angry\na 5 10 neutral\nb 0 2.5 calm\nb 2.5 5 sad\n")
    (tmp_path / "hyp").write_text(";; found\nSPEAKER a 1 2.000 4.000 <NA> <NA> angry 0.9 <NA>\n")
    call(eder, "--ref", tmp_path / "ref", "--hyp", tmp_path / "hyp", "--neutral", "neutral calm")
    out = capsys.readouterr().out.splitlines()
    assert out == [
        f"1 recordings without a line in {tmp_path}/hyp count as neutral: b",
        "EDER 23.3: false_alarm=6.7 missed=16.7 confusion=0.0 overlap=0.0",  # 1 + 2.5 of 15 s
        "2 recordings of 15.0 s; mean of their rates 30.0",
    ]
    (tmp_path / "reco2dur").write_text("a 15\nb 5\nc 1\n")
    call(eder, "--ref", tmp_path / "ref", "--hyp", tmp_path / "hyp", "--reco2dur", tmp_path / "reco2dur",
         "--neutral", "neutral calm")  # fmt: skip
    assert "EDER 17.5: " in capsys.readouterr().out


def test_stretches_of_rttm_that_meet_do_not_overlap(tmp_path):
    """0.1 + 0.2 is more than 0.3, and of a start and an end that are rounded the rounded length is not the distance."""
    found = (Span(0.1, 0.3, "sad", 1), Span(0.3, 0.5335, "angry", 1), Span(0.5335, 0.7004, "sad", 1))
    found = (*found, Span(0.7004, 1.2509, "happy", 1), Span(1.2509, 2, "sad", 1))
    segment = Segment(0, 2, "", {}, {}, {}, emotions=found)
    (tmp_path / "ref").write_text(as_rttm(Recognition("a.wav", 2, "", {}, {}, {}, (segment,))))
    assert [span.label for span in read_reference(tmp_path / "ref")["a"]] == [span.label for span in found]


@pytest.mark.parametrize("ref, hyp, reco2dur, message", [
    ("a 0 2 sad\na 1 3 angry\n", "", "", "sad 0 to 2 and angry 1 to 3 overlap"),
    ("a 0 2\n", "", "", "ref, line 1: 'a 0 2'; allowed are lines of"),
    ("a 0 x sad\n", "", "", "times '0 x' are not seconds"),
    ("a 2 1 sad\n", "", "", "ends at 1 s, before it starts at 2 s"),
    ("", "", "", "names no recording"),
    ("a 0 2 sad\n", "b 0 2 sad\n", "", "1 recordings that .* lacks: b"),
    ("a 0 2 sad\n", "", "a 1\n", "no seconds, or fewer than the reference has, of a"),
    ("a 0 2 sad\n", "", "b 1\n", "no seconds, or fewer than the reference has, of a"),
    ("a 0 2 sad\n", "", "a 1 2\n", "reco2dur, line 1: 'a 1 2'; allowed are lines of"),
    ("a 0 0 sad\n", "", "", "ref: no seconds, .* of a; give --reco2dur a line"),
])  # fmt: skip
def test_what_cannot_be_compared_is_named(tmp_path, ref, hyp, reco2dur, message):
    for name, text in {"ref": ref, "hyp": hyp, "reco2dur": reco2dur}.items():
        (tmp_path / name).write_text(text)
    more = ["--reco2dur", tmp_path / "reco2dur"] if reco2dur else []
    with pytest.raises(UserError, match=message):
        call(eder, "--ref", tmp_path / "ref", "--hyp", tmp_path / "hyp", *more)
