"""`whisper-er`: one tree of entry points."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from entry_point import run_entry_point

from whisper_er import __main__ as command
from whisper_er.bin import run

BIN = Path(command.__file__).parent / "bin"


def whisper_er(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "whisper_er", *words], capture_output=True, text=True, check=False)


def test_every_entry_point_is_listed_once_with_what_it_does():
    files = {path.stem for path in BIN.glob("*.py")} - {"__init__"}
    assert sorted(command.names()) == sorted(files)
    for words in ((), ("--help",), ("-h",)):
        lines = whisper_er(*words).stdout.splitlines()
        for name in files:
            (line,) = [line for line in lines if line.split()[:1] == [name]]
            assert len(line.split()) > 3


def test_help_of_an_entry_point_is_the_same_by_both_names():
    by_command, by_module = whisper_er("split_dir", "--help"), run_entry_point("split_dir", "--help")
    assert by_command.returncode == by_module.returncode == 0
    assert by_command.stdout == by_module.stdout
    assert by_command.stdout.startswith("usage: whisper-er split_dir [-h] ")


def test_every_entry_point_shows_how_it_is_called():
    for name in command.names():
        source = (BIN / f"{name}.py").read_text(encoding="utf-8")
        assert f"whisper-er {name}" in source.partition("import")[0], name


def test_errors_and_exit_codes_are_the_entry_points_own(tmp_path):
    result = whisper_er("validate_data_dir", str(tmp_path))
    assert result.returncode == 1 and result.stderr.startswith(f"error: {tmp_path}")
    assert whisper_er("validate_data_dir").returncode == 2


@pytest.mark.parametrize("word, hint", [("recognise", "did you mean 'recognize'?"), ("xyz", "allowed: recognize")])
def test_an_unknown_name_is_one_line(word, hint):
    result = whisper_er(word)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"error: whisper-er has no '{word}'; {hint}") and result.stderr.count("\n") == 1


def test_the_package_itself_imports_nothing_heavy():
    code = "import sys, whisper_er, whisper_er.base.errors, whisper_er.__main__; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_reading_a_configuration_brings_torch_only_where_it_names_a_part_that_is_not_the_default(tmp_path):
    code = ("import sys; from whisper_er.base.settings import load; from whisper_er.config import TrainConfig; "
            "load(TrainConfig, sys.argv[1], sys.argv[2:]); print('torch' in sys.modules)")  # fmt: skip
    (tmp_path / "train.yaml").write_text("max_steps: 3\n")
    for overrides, brought in (
        (["optim.lr=1e-3", "model.pool=real"], "False"),
        (["model.kind=encoder_classifier", "model.pool=all"], "True"),
    ):
        command = [sys.executable, "-c", code, tmp_path / "train.yaml", *overrides]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{brought}\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_a_terminal_cannot_show_is_escaped_and_json_stays_json(encoding, monkeypatch):
    shown = {"text": "\u043f\u0440\u0438\u0432\u0435\u0442 \u4f60 \U0001f600 \xe9 \\"}
    line = json.dumps(shown, ensure_ascii=False)
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(f"sys.{name}", stream)
        run(lambda stream=stream: print(line, file=stream, flush=True))
        printed = stream.buffer.getvalue().decode(encoding)
        assert json.loads(printed) == shown
        assert ("\xe9" in printed) == (encoding != "ascii") and (printed == line + "\n") == (encoding == "utf-8")
