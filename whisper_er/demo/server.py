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
from typing import TYPE_CHECKING, Any

from whisper_er.base.errors import UserError
from whisper_er.demo.page import CSS, KEPT, Limits, build_page, find_gradio

if TYPE_CHECKING:
    from whisper_er.recognize.recognizer import Recognizer

# The browser loads from this server alone; gradio's page has inline scripts and styles, and makes sounds and workers
# of its own.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
DIRECTORY = "GRADIO_TEMP_DIR"
SWEEP = 60  # seconds between two looks for uploads that are too old
LAST_SECONDS = 1  # for answers to finish after Ctrl-C; an open page holds a connection


def listen(host: str, port: int) -> socket.socket:
    """Listen on the port, or a free one for 0. UserError where that fails."""
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
    """Whether only this machine reaches the address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def serve(recognizer: "Recognizer", limits: Limits, listener: socket.socket) -> None:
    """Serve until TERM or Ctrl-C, which is raised as KeyboardInterrupt. To be called inside of uploads()."""
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
    """gradio's theme with the system's fonts, and colours that white text can be read on."""
    plain = gr.themes.Default(primary_hue="blue", font="system-ui", font_mono="monospace")
    shades = {
        f"button_primary_background_fill{state}{dark}": f"*primary_{shade}"
        for state, shade in (("", 600), ("_hover", 700))
        for dark in ("", "_dark")
    }
    return plain.set(**shades)


@contextmanager
def uploads() -> Iterator[None]:
    """Keep gradio's uploads in a temporary directory, deleted at the end. To be entered before gradio is imported.

    TERM and a terminal that is closed end the server as Ctrl-C does: what is open is closed, uploads are deleted.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))

    def sweep_periodically() -> None:
        while not ended.wait(SWEEP):
            with suppress(OSError):  # the next look may find it mended
                sweep(Path(directory))

    with TemporaryDirectory(prefix="whisper_er-demo-") as directory:
        os.environ[DIRECTORY] = directory
        sweeper = threading.Thread(target=sweep_periodically)
        sweeper.start()
        try:
            yield
        finally:
            ended.set()
            sweeper.join()
            del os.environ[DIRECTORY]


def sweep(directory: Path) -> None:
    """Delete files older than KEPT seconds; gradio's own delete_cache leaves uploads that were broken off."""
    for path in directory.rglob("*"):
        with suppress(OSError):  # gradio moves a complete upload
            if path.is_file() and time.time() - path.stat().st_mtime > KEPT:
                path.unlink()


def is_defect(record: logging.LogRecord) -> bool:
    """False for a visitor who leaves in the middle of an upload."""
    return not (record.exc_info and type(record.exc_info[1]).__name__ == "ClientDisconnect")
