"""The demo page: the function behind it, its limits, and where uploads lie."""

import asyncio
import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from noises import noise, speech_and_pauses
from tiny_experiment import call

from whisper_er.base.errors import UserError
from whisper_er.bin import demo
from whisper_er.demo import fragments
from whisper_er.demo import page as demo_page
from whisper_er.demo import server as demo_server
from whisper_er.demo.page import Limits
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.recognize.result import Segment, combine
from whisper_er.task import Task

pytest.importorskip("gradio")

LIMITS = Limits(megabytes=1, seconds=60)
HOSTILE = "<img src=x onerror=alert(1)>"
TASKS = (Task("asr", "text"), Task("style", "category", ("calm", HOSTILE)), Task("valence", "scale", ("1", "3", "5")))


@pytest.fixture(scope="module")
def experiment(trained):
    """The directory of a trained model."""
    return trained / "exp"


@pytest.fixture(scope="module")
def recognizer(experiment):
    return Recognizer.open(experiment)


def refusal(recognizer: Recognizer | None, path: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(UserError) as error:
        demo_page.recognize(recognizer, str(path), limits)
    assert str(path.parent) not in str(error.value), "a visitor learns where the server keeps uploads"
    return str(error.value)


def test_any_rate_and_stereo_are_recognized_as_on_the_command_line(recognizer, tmp_path):
    path = noise(tmp_path / "talk.flac", 2, rate=44100, channels=2)
    found = demo_page.recognize(recognizer, str(path), LIMITS)
    assert found == recognizer(path)
    assert set(found.labels) == {"gender", "emotion"}


def test_a_visitor_without_a_recording_is_asked_for_one():
    with pytest.raises(UserError, match="^no recording: choose a file, or record one$"):
        demo_page.recognize(None, None, LIMITS)


def test_where_memory_does_not_suffice_the_visitor_is_told_and_the_next_one_is_served(recognizer, tmp_path):
    path = noise(tmp_path / "talk.wav", 1)
    with mock.patch.object(recognizer.model, "predict", side_effect=MemoryError("std::bad_alloc")):
        assert refusal(recognizer, path).startswith("memory does not suffice; try a shorter recording")
    assert demo_page.recognize(recognizer, str(path), LIMITS).labels


def test_what_is_too_long_too_large_too_wide_silent_or_no_audio_is_refused_by_its_own_name(recognizer, tmp_path):
    assert refusal(None, noise(tmp_path / "long.wav", 61, 8000)) == "long.wav: 61.0 s; allowed are 60 s: cut it"
    assert refusal(None, noise(tmp_path / "large.wav", 40)) == "large.wav: 1.2 MB; allowed are 1 MB"
    wide = noise(tmp_path / "wide.wav", 0.1, 96000, channels=17)
    assert refusal(None, wide) == "wide.wav: 17 channels at 96000 Hz; allowed are 8 at 192000 Hz"
    for seconds in (1, 40):  # as one utterance, and split
        quiet = noise(tmp_path / "quiet.flac", seconds, loudness=0.0001)
        assert refusal(recognizer, quiet).startswith("quiet.flac: silence: nothing is louder than -70 dB for 0.1 s")
    (tmp_path / "text.wav").write_text("no audio")
    assert refusal(None, tmp_path / "text.wav").startswith("text.wav: cannot be read as audio: ")
    assert refusal(None, tmp_path / "old.wav") == "old.wav: deleted after 10 minutes: choose it again"


def test_a_header_that_claims_more_than_the_file_holds_is_refused(recognizer, tmp_path):
    whole = noise(tmp_path / "whole.flac", 2).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    assert "cut.flac: " in refusal(recognizer, tmp_path / "cut.flac")


def test_of_several_utterances_there_are_a_table_and_a_timeline(recognizer, tmp_path):
    found = demo_page.recognize(recognizer, str(speech_and_pauses(tmp_path / "two.wav")), LIMITS)
    assert len(found.segments) == 2
    table = fragments.utterances(found, recognizer.tokenizer.tasks)
    assert re.findall(r'<th scope="row">(0:\d\d\.\d–0:\d\d\.\d)</th>', table) == ["0:00.0–0:04.1", "0:29.9–0:33.0"]
    assert 'src="data:image/png;base64,iVBOR' in fragments.timeline(found, "emotion")
    with mock.patch.dict(sys.modules, matplotlib=None):
        assert fragments.timeline(found, "emotion") == ""


def test_nothing_of_a_model_a_recording_or_a_file_is_taken_for_html():
    probabilities = {"style": {"calm": 0.1, HOSTILE: 0.9}, "valence": {"1": 1.0, "3": 0.0, "5": 0.0}}
    segments = [Segment(i, i + 1, HOSTILE, {"style": HOSTILE}, {"valence": 1.0}, probabilities) for i in range(2)]
    found = combine(f"/up/{HOSTILE}", 2.0, segments, TASKS)
    shown = [fragments.summary(found), fragments.utterances(found, TASKS), fragments.facts(TASKS, HOSTILE)]
    assert ["<img" in html for html in shown] == [False] * 3
    assert [html.count("&lt;img src=x onerror=alert(1)&gt;") for html in shown] == [1, 4, 2]


def test_answers_are_ordered_by_interest_and_fit_their_components():
    gr = demo_page.find_gradio()
    tasks = (Task("gender", "category", ("f", "m")), *reversed(TASKS), Task("emotion", "category", ("sad", "happy")))
    assert [task.name for task in demo_page.by_interest(tasks)] == ["asr", "emotion", "gender", "valence", "style"]
    assert demo_page.drawn_task(TASKS) == "style" and demo_page.drawn_task(TASKS[:1]) == ""
    kinds = [type(demo_page.answer_component(gr, task)).__name__ for task in TASKS]
    assert kinds == ["Textbox", "Label", "Number"]
    found = SimpleNamespace(text="so", scales={"valence": 3.14159}, probabilities={"style": {"calm": 1.0}})
    assert [demo_page.answer(found, task) for task in TASKS] == ["so", {"calm": 1.0}, 3.14]


def test_the_page_keeps_to_one_recording_at_a_time_and_fetches_nothing_for_a_visitor(recognizer):
    page = demo_page.build_page(recognizer, LIMITS)
    function = next(f for f in page.fns.values() if f.name == "show")
    assert function.concurrency_limit == 1 and function.api_visibility == "private"
    assert (page._queue.max_size, page.api_open, page.analytics_enabled) == (demo_page.WAITING, False, False)
    fetch = {"path": "https://example.com/a.wav", "meta": {"_type": "gradio.FileData"}}
    # In a thread of its own: the browser of other tests has an event loop in this one.
    refused = pytest.raises(demo_page.find_gradio().Error, match="an address is no recording")
    with ThreadPoolExecutor(1) as thread, refused:
        thread.submit(lambda: asyncio.run(page.preprocess_data(function, [fetch], None))).result()


@pytest.mark.parametrize("error, said", [
    (UserError(f"{HOSTILE}: empty"), "&lt;img src=x onerror=alert(1)&gt;: empty"),
    (RuntimeError("/home/secret"), "the server failed; its terminal says why"),
])  # fmt: skip
def test_a_visitor_reads_what_can_be_mended_as_text_and_nothing_of_a_defect(recognizer, error, said):
    page = demo_page.build_page(recognizer, LIMITS)
    show = next(f.fn for f in page.fns.values() if f.name == "show")
    with mock.patch.object(demo_page, "recognize", side_effect=error):
        with pytest.raises(demo_page.find_gradio().Error) as shown:
            show("a.wav")
    assert shown.value.message == said
    assert shown.value.print_exception == isinstance(error, RuntimeError)


def test_without_gradio_the_extra_is_named():
    with mock.patch.dict(sys.modules, gradio=None), pytest.raises(UserError, match=r"pip install 'whisper_er\[demo\]'"):
        demo_page.find_gradio()


def test_a_port_that_is_taken_or_an_address_that_is_not_here_is_one_line():
    with demo_server.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} is in use: "):
            call(demo, "--model", "none", "--port", port)
    for host, port, said in [("192.0.2.1", 0, "cannot be had"), ("no.invalid", 0, "cannot be had"),
                             ("127.0.0.1", 65536, "allowed are 0 to 65535")]:  # fmt: skip
        with pytest.raises(UserError, match=said):
            demo_server.listen(host, port)


def test_uploads_whole_or_broken_off_are_deleted_when_they_are_old(tmp_path):
    ages = {"a/whole.wav": demo_page.KEPT + 5, "tmpbroken": demo_page.KEPT + 5, "b/new.wav": demo_page.KEPT - 50}
    with mock.patch.object(demo_server, "SWEEP", 0.01), demo_server.uploads():
        directory = Path(os.environ["GRADIO_TEMP_DIR"])
        assert directory.stat().st_mode & 0o077 == 0, "others can read it"
        for name, age in ages.items():
            made = tmp_path / Path(name).name
            made.touch()
            os.utime(made, (time.time() - age,) * 2)
            (directory / name).parent.mkdir(exist_ok=True)
            made.rename(directory / name)
        end = time.monotonic() + 5
        while len(found := [path.name for path in directory.rglob("*") if path.is_file()]) > 1:
            assert time.monotonic() < end, found
        assert found == ["new.wav"]
    assert not directory.exists() and "GRADIO_TEMP_DIR" not in os.environ


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_uploads_go_when_the_server_is_ended_or_its_terminal_closed(number):
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as ended, demo_server.uploads():
            directory = Path(os.environ[demo_server.DIRECTORY])
            (directory / "upload.wav").touch()
            os.kill(os.getpid(), number)
        assert ended.value.code == 128 + number and not directory.exists()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def test_only_this_machines_own_addresses_are_loopback():
    hosts = ["127.0.0.1", "127.8.8.8", "::1", "localhost", "0.0.0.0", "::", "192.168.1.2", "example.com", ""]
    assert [demo_server.is_loopback(host) for host in hosts] == [True] * 4 + [False] * 5


@pytest.mark.parametrize("host, said", [("127.0.0.1", ""), ("0.0.0.0", "--host 0.0.0.0: everyone .*\n")])
def test_that_everyone_is_let_in_is_said(host, said, capsys):
    with mock.patch.object(demo, "open_recognizer"), mock.patch.object(demo, "serve") as serve:
        call(demo, "--model", "any", "--port", 0, "--host", host, "--max_seconds", 20)
    assert re.fullmatch(said, capsys.readouterr().out)
    assert serve.call_args[0][1] == Limits(64, 20)


def test_a_limit_that_lets_nothing_in_is_refused():
    for limit in (["--max_mb", 0], ["--max_seconds", 0], ["--max_seconds", "nan"], ["--max_seconds", "inf"]):
        with pytest.raises(UserError, match="allowed are numbers above 0"):
            call(demo, "--model", "any", *limit)
