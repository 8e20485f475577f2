"""No tracked file has what a merge leaves where two changes meet."""

import subprocess

import pytest
from repository import ROOT


def test_no_tracked_file_has_conflict_markers():
    found = subprocess.run(
        ["git", "grep", "-InE", r"^(<{7}|>{7})( |$)"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode > 1:
        pytest.skip(f"no git here: {found.stderr}")
    assert found.stdout == ""
