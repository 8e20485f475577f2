"""What a clone on another system, or by another git, is told; and that no git gives it other line ends."""

import os
import shutil
import subprocess

import pytest
from recipe_copy import copy_recipes
from repository import EGS, ROOT, TEMPLATE

CHECK = TEMPLATE / "utils/check_machine.sh"
STARTED = (
    *EGS.glob("*/ser1/run.sh"),
    *EGS.glob("*/ser1/systems.sh"),
    EGS / "emodb/ser1/local/data.sh",
    EGS / "iemocap/ser1/paper.sh",
    TEMPLATE / "setup.sh",
    ROOT / "test/run.sh",
    ROOT / "tools/setup_env.sh",
    ROOT / "tools/benchmark/padding.sh",
)


@pytest.mark.parametrize("script", STARTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_says_at_once_that_it_needs_linux(script, tmp_path):
    (tmp_path / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tmp_path / "uname").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([script], env=env, check=False, capture_output=True, text=True)
    message = "error: this is Darwin; the scripts need Linux, which on Windows is WSL\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize("version, fits", [("3.2.57(1)-release", False), ("4.3.48(1)-release", False),
                                           ("4.4.0(1)-release", True), ("5.2.15(1)-release", True),
                                           ("10.1", True)])  # fmt: skip
def test_the_bash_has_to_be_new_enough(version, fits):
    done = subprocess.run(["bash", "-c", 'BASH_VERSION=$1; . "$2"', "-", version, CHECK], check=False,
                          capture_output=True, text=True)  # fmt: skip
    message = f"error: bash is {version}; the scripts need 4.4 or newer\n"
    assert (done.returncode, done.stderr) == ((0, "") if fits else (1, message))


@pytest.mark.skipif(not shutil.which("dash"), reason="no shell whose syntax is that of any old bash")
def test_the_check_comes_first_and_any_shell_can_read_it():
    done = subprocess.run(["dash", CHECK], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: bash is not the shell; the scripts need 4.4 or newer\n")
    lines = (TEMPLATE / "utils/parse_options.sh").read_text().splitlines()
    first = next(line for line in lines if line and not line.startswith("#"))
    assert first.startswith('. "${BASH_SOURCE[0]%/*}/check_machine.sh"')


def test_a_clone_without_links_is_refused(tmp_path):
    utils, link = tmp_path / "TEMPLATE/ser1/utils", tmp_path / "mini_emo/ser1/utils"
    utils.mkdir(parents=True)
    shutil.copy(CHECK, utils)
    link.parent.mkdir(parents=True)
    check = ["bash", "-c", ". TEMPLATE/ser1/utils/check_machine.sh"]
    for make, code, message in (
        (lambda: link.symlink_to("../../TEMPLATE/ser1/utils"), 0, ""),
        (lambda: link.write_text("../../TEMPLATE/ser1/utils"), 1, "error: the links of this clone are files; "),
    ):
        link.unlink(missing_ok=True)
        make()
        done = subprocess.run(check, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == code and done.stderr.startswith(message) and len(done.stderr.splitlines()) == code


def test_what_users_start_says_so_in_a_clone_without_links(tmp_path):
    egs = copy_recipes(tmp_path)
    for link in (path for path in egs.rglob("*") if path.is_symlink()):
        target = link.readlink()
        link.unlink()
        link.write_text(str(target))
        link.chmod(0o777)  # as WSL shows what lies on a disk of Windows
    scripts = [*egs.glob("*/ser1/run.sh"), egs / "iemocap/ser1/paper.sh"]
    assert len(scripts) > 5
    for script in scripts:
        done = subprocess.run([script], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 1, script
        assert done.stderr.startswith("error: the links of this clone are files; ") and done.stderr.count("\n") == 1


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_a_git_of_windows_leaves_the_line_ends_alone(tmp_path):
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    files = {"run.sh": b"#!/bin/sh\necho\n", "conf/a.yaml": b"a: 1\n", "wav.scp": b"a b\n", "a.wav": b"RIFF\0\n\r\n"}
    for name, content in files.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(content)
    shutil.copy(ROOT / ".gitattributes", source)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"], ["clone", "-q", ".", clone]):
        subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)
    assert {name: (clone / name).read_bytes() for name in files} == files
