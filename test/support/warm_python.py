"""A `python` for recipes in tests: a script or entry point is run by a fork of a process that has loaded the package.

    python warm_python.py SOCKET        serves until it is terminated

Loading torch and transformers takes a process 3 to 5 s, and a recipe starts a hundred of them. Each is still a process
with arguments, environment, directory and standard streams of its own; signals are passed on to it, and it dies with
who called it.
"""

import array
import atexit
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repository import ROOT

CLIENT = f"""#!{sys.executable} -SE
import array, json, os, signal, socket, sys
words = sys.argv[2:] if sys.argv[1] == "-u" else sys.argv[1:]  # torchrun asks for no buffers
if not (words[0].endswith(".py") or words[0] == "-m" and words[1].startswith("whisper_er.bin.")):
    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect(ADDRESS)
    call = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    server.sendmsg([len(call).to_bytes(8, "big")], streams)
    server.sendall(call)
    pid = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = server.recv(1)
sys.exit(code[0] if code else "the process died")
"""


@contextmanager
def running(directory: Path) -> Iterator[Path]:
    """Yields a directory with such a `python`, to be the first of PATH."""
    address = directory / "socket"
    (directory / "python").write_text(CLIENT.replace("ADDRESS", repr(str(address))))
    (directory / "python").chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([sys.executable, __file__, address], env=environment)
    try:
        while not address.exists():
            assert server.poll() is None, "the server did not start"
            time.sleep(0.05)
        yield directory
    finally:
        server.terminate()
        server.wait()


def serve(address: str) -> None:
    load_package()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        os.rename(f"{address}.new", address)
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(client)
            client.close()


def load_package() -> None:
    """All that the entry points import, but not they themselves."""
    import whisper_er

    for module in pkgutil.walk_packages(whisper_er.__path__, "whisper_er."):
        if not module.name.startswith(("whisper_er.bin.", "whisper_er.__main__", "whisper_er.demo.")):
            importlib.import_module(module.name)


def answer(client: socket.socket) -> None:
    """Run one entry point in this process, which it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = array.array("i")
    size, [(_, _, data)], _, _ = client.recvmsg(8, socket.CMSG_LEN(3 * streams.itemsize), socket.MSG_WAITALL)
    streams.frombytes(data)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Python's streams remember what kind of file they were opened on.
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    call = b""
    while len(call) < int.from_bytes(size, "big"):
        call += client.recv(2**20)
    client.sendall(os.getpid().to_bytes(8, "big"))
    threading.Thread(target=die_with, args=[client], daemon=True).start()
    words, directory, environment = json.loads(call)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    leave, pid = os._exit, os.getpid()

    def tell_and_leave(code: int) -> None:
        if os.getpid() == pid:  # and not one of its own children
            client.sendall(bytes([code]))
        leave(code)

    os._exit = tell_and_leave  # torchrun's processes call it
    os.execvp = lambda _, command: os._exit(subprocess.run(command, check=False).returncode)
    code = run_words(words)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def die_with(client: socket.socket) -> None:
    if not client.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


def run_words(words: list[str]) -> int:
    """-m MODULE argument ..., or SCRIPT argument ...; returns the exit code as the interpreter would give it."""
    try:
        if words[0] == "-m":
            sys.argv, sys.path[0] = words[1:], os.getcwd()
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as exit_:
        if exit_.code is None or isinstance(exit_.code, int):
            return exit_.code or 0
        print(exit_.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
