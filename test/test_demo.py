"""The demo page: the function behind it, and the real server in a real browser."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import soundfile
from browser import ARGUMENTS, executable
from tiny_experiment import call

from whisper_er import demo_html, demo_page, demo_server
from whisper_er.bin import demo
from whisper_er.demo_page import Limits
from whisper_er.errors import UserError
from whisper_er.recognition import Segment, combine
from whisper_er.recognizer import Recognizer
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


def noise(path: Path, seconds: float, rate: int = 16000, channels: int = 1, loudness: float = 0.1) -> Path:
    samples = np.random.default_rng(0).normal(0, loudness, (int(seconds * rate), channels))
    soundfile.write(path, samples, rate)
    return path


def speech_and_pauses(path: Path) -> Path:
    """33 s with two utterances."""
    samples = np.random.default_rng(0).normal(0, 0.1, 33 * 8000)
    samples[4 * 8000 : 30 * 8000] = 0
    soundfile.write(path, samples, 8000)
    return path


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


def test_what_is_too_long_too_large_too_wide_silent_or_no_audio_is_refused_by_its_own_name(recognizer, tmp_path):
    assert refusal(None, noise(tmp_path / "long.wav", 61, 8000)) == "long.wav: 61.0 s; allowed are 60 s: cut it"
    assert refusal(None, noise(tmp_path / "large.wav", 40)) == "large.wav: 1.2 MB; allowed are 1 MB"
    wide = noise(tmp_path / "wide.wav", 0.1, 96000, channels=17)
    assert refusal(None, wide) == "wide.wav: 17 channels at 96000 Hz; allowed are 8 at 192000 Hz"
    for seconds in (1, 40):  # as one utterance, and split
        quiet = noise(tmp_path / "quiet.flac", seconds, loudness=0.0001)
        assert refusal(recognizer, quiet).startswith("quiet.flac: silence: nothing is louder than -60 dB for 0.1 s")
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
    table = demo_html.utterances(found, recognizer.tokenizer.tasks)
    assert re.findall(r"<td>(0:\d\d\.\d–0:\d\d\.\d)</td>", table) == ["0:00.0–0:04.1", "0:29.9–0:33.0"]
    assert 'src="data:image/png;base64,iVBOR' in demo_html.timeline(found, "emotion")
    with mock.patch.dict(sys.modules, matplotlib=None):
        assert demo_html.timeline(found, "emotion") == ""


def test_nothing_of_a_model_a_recording_or_a_file_is_taken_for_html():
    probabilities = {"style": {"calm": 0.1, HOSTILE: 0.9}, "valence": {"1": 1.0, "3": 0.0, "5": 0.0}}
    segments = [Segment(i, i + 1, HOSTILE, {"style": HOSTILE}, {"valence": 1.0}, probabilities) for i in range(2)]
    found = combine(f"/up/{HOSTILE}", 2.0, segments, TASKS)
    shown = [demo_html.summary(found), demo_html.utterances(found, TASKS), demo_html.facts(TASKS, HOSTILE)]
    assert ["<img" in html for html in shown] == [False] * 3
    assert [html.count("&lt;img src=x onerror=alert(1)&gt;") for html in shown] == [1, 4, 2]


def test_answers_are_ordered_by_interest_and_fit_their_components():
    gr = demo_page.find_gradio()
    tasks = (Task("gender", "category", ("f", "m")), *reversed(TASKS), Task("emotion", "category", ("sad", "happy")))
    assert [task.name for task in demo_page.by_interest(tasks)] == ["asr", "emotion", "gender", "valence", "style"]
    assert demo_page.main_task(TASKS) == "style" and demo_page.main_task(TASKS[:1]) == ""
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


@contextmanager
def serving(experiment: Path, temporary: Path, *more: object) -> Iterator[tuple[str, list[str]]]:
    """The page's address, and a list that then gets what the server printed after it; it ends by Ctrl-C."""
    command = [sys.executable, "-m", "whisper_er", "demo", "--model", experiment, "--port", 0, *more]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    printed: list[str] = []
    with subprocess.Popen([str(word) for word in command], env=environment, **pipes) as process:
        try:
            lines = iter(process.stdout.readline, "")
            address = next((line.split()[0] for line in lines if line.startswith("http")), "the server did not start")
            yield address, printed
            process.send_signal(signal.SIGINT)
            printed += process.communicate(timeout=30)[0].splitlines()
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(experiment, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("server")
    with serving(experiment, temporary, "--max_mb", 1) as (address, printed):
        yield address
    assert printed == [], "a page that works prints nothing"
    assert list(temporary.iterdir()) == [], "uploads outlive the server"


@pytest.fixture(scope="module")
def chromium(browser, tmp_path_factory):
    """A browser with a microphone that hears noise."""
    heard = noise(tmp_path_factory.mktemp("microphone") / "heard.wav", 2)
    microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                  f"--use-file-for-fake-audio-capture={heard}"]  # fmt: skip
    started = browser.browser_type.launch(executable_path=executable(), args=[*ARGUMENTS, *microphone])
    yield started
    started.close()


@pytest.fixture
def page(server, chromium):
    """The page, opened; at the end: what it asked for elsewhere, and errors of its scripts."""
    opened = chromium.new_page()
    asked, errors = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    answered = opened.goto(server)
    assert "default-src 'self' " in answered.headers["content-security-policy"], "other hosts are not barred"
    opened.get_by_role("button", name="Recognize").wait_for()
    yield opened
    opened.close()
    assert [url for url in asked if not url.startswith((server, "blob:", "data:"))] == []
    assert asked, "no request was seen"
    # What a browser says of a file that it cannot play is gradio's.
    assert [error for error in errors if "Waveform load error" not in error] == []


def recognize(page, path: Path) -> None:
    assert page.get_by_role("button", name="Recognize").is_disabled(), "there is nothing to recognize yet"
    page.locator("input[type=file]").first.set_input_files(path)
    page.get_by_role("button", name="Recognize").click()  # as soon as it can be clicked


def test_a_file_that_is_uploaded_is_answered_and_its_answer_goes_with_it(page, tmp_path):
    recognize(page, noise(tmp_path / "talk.wav", 1, rate=44100, channels=2))
    page.get_by_text("talk.wav, 0:01.0").wait_for()
    page.get_by_label("transcript").wait_for()
    meters = page.get_by_role("meter").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert sorted(meters[:2]) == ["happy", "sad"] and sorted(meters[2:]) == ["female", "male"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("transcript").wait_for(state="hidden")


def test_what_the_microphone_hears_is_answered_by_keyboard(page):
    page.get_by_role("button", name="Record audio").press("Enter")
    page.get_by_role("button", name="Record", exact=True).press("Enter")
    page.wait_for_timeout(1200)
    page.get_by_role("button", name="Stop", exact=True).press("Enter")
    page.get_by_role("button", name="Recognize", disabled=False).wait_for()
    page.get_by_role("button", name="Recognize").press("Enter")
    page.get_by_text(re.compile(r"audio\.wav, 0:0\d\.\d")).wait_for()
    page.get_by_label("transcript").wait_for()


def test_a_long_recording_fits_a_phone_and_has_a_table_and_a_picture(page, tmp_path):
    page.set_viewport_size({"width": 390, "height": 844})
    recognize(page, speech_and_pauses(tmp_path / "two.wav"))
    page.get_by_text("two.wav, 0:33.0, 2 utterances").wait_for()
    rows = page.get_by_role("region", name="Utterances").get_by_role("row")
    rows.nth(2).wait_for()
    assert rows.count() == 3
    assert page.get_by_alt_text("Probabilities of emotion").evaluate("picture => picture.naturalWidth") > 1000
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_text_named_wav_is_refused_in_one_line_and_the_next_file_is_answered(page, tmp_path):
    (tmp_path / "text.wav").write_text("no audio at all\n")
    recognize(page, tmp_path / "text.wav")
    page.get_by_text("text.wav: cannot be read as audio: ").wait_for()
    assert page.get_by_label("transcript").count() == 0 or page.get_by_label("transcript").is_hidden()
    page.get_by_role("button", name="Clear").first.click()
    page.get_by_role("button", name="Recognize", disabled=True).wait_for()
    recognize(page, noise(tmp_path / "talk.wav", 1))
    page.get_by_label("transcript").wait_for()


def test_a_file_over_the_limit_is_refused_by_the_server_itself(server):
    """A browser is told the limit and does not even send it."""
    host, port = server.removeprefix("http://").split(":")
    head = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    body = head.encode() + bytes(2**20 + 1) + b"\r\n--x--\r\n"
    ask = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"{ask}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body)
        assert connection.recv(12) == b"HTTP/1.1 413"


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
