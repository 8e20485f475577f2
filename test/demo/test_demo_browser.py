"""The demo page on its real server, in a real browser."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import ARGUMENTS, executable
from noises import noise, speech_and_pauses

pytest.importorskip("gradio")


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
def server(trained, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("server")
    with serving(trained / "exp", temporary, "--max_mb", 1) as (address, printed):
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
