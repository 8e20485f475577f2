"""Someone who follows the guide egs/TEMPLATE/README.md: its commands are run in a fresh copy of the recipes."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from recipe_copy import ROOT, copy_recipes

GUIDE = (ROOT / "egs/TEMPLATE/README.md").read_text(encoding="utf-8")


def commands(section: str) -> str:
    """The commands of a section of the guide."""
    (text,) = re.findall(rf"^## \d\. {section}\b.*?\n(.*?)(?=^## \d|\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    return "".join(re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


class Reader:
    """Follows the guide, from one section to the next, with a corpus below a HOME of its own."""

    def __init__(self, root: Path, write_corpus: Callable[[Path], None], python: Path | None = None) -> None:
        """write_corpus: makes labels.csv and wav/ in a directory; python: see copy_recipes."""
        self.root, self.home = root, root / "home"
        write_corpus(self.home / "mycorpus")
        self.recipe = copy_recipes(root, python) / "mycorpus/ser1"

    def follow(self, section: str, change: Callable[[str], str] = lambda text: text) -> str:
        """What the commands of a section print, in a shell that still has the variables of section 1; change: of the
        commands, before they are run."""
        first = "" if section == "Make the recipe" else f"corpus=~/mycorpus; cd {self.recipe}\n"
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HOME": str(self.home)}
        command = ["bash", "-eo", "pipefail", "-c", first + change(commands(section))]
        done = subprocess.run(command, cwd=self.root, env=env, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
