"""Serves the demo's page: on an address of this machine, with uploads in a directory that nobody else reads."""

import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from whisper_er.base.errors import UserError
from whisper_er.demo.page import CSS, KEPT, Limits, build_page, find_gradio
from whisper_er.recognize.recognizer import Recognizer

# The browser loads from this server alone; gradio's page has scripts and styles in itself, and sounds and workers
# that it makes.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
DIRECTORY = "GRADIO_TEMP_DIR"
SWEEP = 60  # seconds between two looks for uploads that are too old
LAST_SECONDS = 1  # that what is still being sent may take after Ctrl-C; a page that is open holds a connection


def listen(host: str, port: int) -> socket.socket:
    """Take the port, or a free one for 0. UserError where it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "is in use: end the program that has it, or give another port; 0 takes a free one"
        else:
            reason = f"cannot be had: {error.strerror}; the default is --host 127.0.0.1 --port 7860"
        raise UserError(f"--host {host} --port {port} {reason}") from None
    except OverflowError:
        raise UserError(f"--port {port}: allowed are 0 to 65535") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def serve(recognizer: Recognizer, limits: Limits, listener: socket.socket) -> None:
    """Until Ctrl-C, which comes back as KeyboardInterrupt, or TERM. Inside of uploads()."""
    gr = find_gradio()
    import uvicorn
    from fastapi import FastAPI

    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None), build_page(recognizer, limits), path="/", theme=theme(gr), css=CSS, footer_links=[],
        run_history=False, show_error=False, max_file_size=limits.bytes, ssr_mode=False, enable_monitoring=False,
        pwa=False, mcp_server=False,
    )  # fmt: skip
    headers = [("Content-Security-Policy", POLICY)]
    server = uvicorn.Server(uvicorn.Config(
        app, log_level="warning", access_log=False, headers=headers, timeout_graceful_shutdown=LAST_SECONDS,
    ))  # fmt: skip
    logging.getLogger("uvicorn.error").addFilter(is_defect)
    host, port = listener.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C ends it)", flush=True)
    server.run(sockets=[listener])


def theme(gr: Any) -> Any:
    """The system's fonts, and colours that white text can be read on."""
    plain = gr.themes.Default(primary_hue="blue", font="system-ui", font_mono="monospace")
    shades = {
        f"button_primary_background_fill{state}{dark}": f"*primary_{shade}"
        for state, shade in (("", 600), ("_hover", 700))
        for dark in ("", "_dark")
    }
    return plain.set(**shades)


@contextmanager
def uploads() -> Iterator[None]:
    """Gradio keeps them in a directory of our own, which goes at the end. Entered before gradio is imported.

    TERM and a terminal that is closed end the server as Ctrl-C does: what is open is closed, uploads are deleted.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))

    def sweep_again_and_again() -> None:
        while not ended.wait(SWEEP):
            with suppress(OSError):  # the next look may find it mended
                sweep(Path(directory))

    with TemporaryDirectory(prefix="whisper_er-demo-") as directory:
        os.environ[DIRECTORY] = directory
        sweeper = threading.Thread(target=sweep_again_and_again)
        sweeper.start()
        try:
            yield
        finally:
            ended.set()
            sweeper.join()
            del os.environ[DIRECTORY]


def sweep(directory: Path) -> None:
    """Delete what is older than KEPT; gradio's own delete_cache leaves uploads that were broken off."""
    for path in directory.rglob("*"):
        with suppress(OSError):  # gradio moves what has arrived
            if path.is_file() and time.time() - path.stat().st_mtime > KEPT:
                path.unlink()


def is_defect(record: logging.LogRecord) -> bool:
    """A visitor who leaves in the middle of an upload is none."""
    return not (record.exc_info and type(record.exc_info[1]).__name__ == "ClientDisconnect")
