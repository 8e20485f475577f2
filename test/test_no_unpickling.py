"""No source unpickles, evaluates or hands to a shell what a file holds: read from the syntax trees, nothing is run."""

import ast
import re
from pathlib import Path

import pytest
from repository import ROOT

UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
EVALUATES = {"eval", "exec", "compile", "__import__"}
SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell",
}
SHELL_NAMES = {"sh", "bash", "dash", "zsh", "ksh", "/bin/sh", "/bin/bash"}
UNSAFE_YAML = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
ALLOWED = {
    # --allow_pipes: a pipe of wav.scp is a command by Kaldi's definition. It is off unless the user asks for it.
    ("whisper_er/corpora/format_audio.py", "bash -c"),
    # What follows is an argument of `exec "$@"`, not a part of the text that sh reads.
    ("egs/TEMPLATE/ser1/utils/slurm_job.py", "sh -c"),
}


def sources() -> list[Path]:
    paths = [path for top in ("whisper_er", "egs", "tools") for path in sorted((ROOT / top).rglob("*.py"))]
    made = re.compile(r"egs/[^/]+/[^/]+/(data|dump|exp|downloads)/|tools/venv/")  # by a recipe and the set-up
    return [path for path in paths if not made.match(str(path.relative_to(ROOT)))]


def findings(source: str) -> list[str]:
    """What the rule forbids in a source, in the order of the walk."""
    tree = ast.parse(source)
    short = {}  # local name -> dotted name that was imported
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            short |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            short |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        else:
            continue
        found += [f"import {name}" for name in names if UNPICKLERS & set(name.split("."))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += judge_call(node, dotted(node.func, short))
        elif isinstance(node, ast.List | ast.Tuple):
            found += judge_words([item.value for item in node.elts if isinstance(item, ast.Constant)])
        elif isinstance(node, ast.Attribute) and dotted(node, short).startswith("yaml."):
            name = dotted(node, short)
            found += [name] if "Unsafe" in name or name.endswith((".Loader", ".FullLoader", ".CLoader")) else []
    return found


def dotted(node: ast.expr, short: dict[str, str]) -> str:
    """torch.load for `torch.load`, and for `load` after `from torch import load`."""
    if isinstance(node, ast.Name):
        return short.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, short)}.{node.attr}"
    return ""


def judge_call(call: ast.Call, name: str) -> list[str]:
    given = {keyword.arg: getattr(keyword.value, "value", "?") for keyword in call.keywords}
    top, _, last = name.rpartition(".")
    wrong = []
    if name in EVALUATES or name.startswith("builtins."):
        wrong.append(name)
    if name in SHELLS or given.get("shell", False) is not False:
        wrong.append(f"shell: {name}")
    if name == "torch.load" and given.get("weights_only") is not True:
        wrong.append("torch.load without weights_only=True")
    if top in ("np", "numpy") and last == "load" and given.get("allow_pickle", False) is not False:
        wrong.append("numpy.load with allow_pickle")
    if top == "yaml" and last in UNSAFE_YAML:
        loader = next((keyword.value for keyword in call.keywords if keyword.arg == "Loader"), None)
        # A subclass of SafeLoader has a name of its own; yaml's own loaders are judged where they are named.
        if last != "load" or not isinstance(loader, ast.Name):
            wrong.append(name)
    if last == "from_pretrained" and given.get("trust_remote_code", False) is not False:
        wrong.append("from_pretrained with trust_remote_code")
    return wrong


def judge_words(words: list[object]) -> list[str]:
    """A shell that gets its program as an argument, among the words of a command."""
    shells = [position for position, word in enumerate(words) if word in SHELL_NAMES]
    return [
        f"{words[position]} -c"
        for position in shells
        if any(re.fullmatch("-[a-z]*c", str(word)) for word in words[position + 1 :])
    ]


def test_no_source_unpickles_evaluates_or_calls_a_shell():
    found = {
        (str(path.relative_to(ROOT)), what) for path in sources() for what in findings(path.read_text(encoding="utf-8"))
    }
    assert found - ALLOWED == set()
    assert ALLOWED - found == set(), "no longer there: remove it from ALLOWED"


def test_the_walk_sees_the_package_the_recipes_and_the_tools():
    names = {str(path.relative_to(ROOT)) for path in sources()}
    assert {
        "whisper_er/base/weights.py",
        "whisper_er/bin/train.py",
        "egs/TEMPLATE/ser1/utils/launch.py",
        "tools/benchmark/workload.py",
    } <= names
    assert not any("venv" in name for name in names)


@pytest.mark.parametrize("source", [
    "import pickle", "import os, dill as d", "from marshal import loads", "def f():\n    import shelve",
    "from torch.serialization import pickle", "import torch\ntorch.load(p)", "import torch\ntorch.load(p, None, None)",
    "import torch as t\nt.load(p, weights_only=False)", "from torch import load\nload(p)",
    "import torch\ntorch.load(p, weights_only=flag)", "import numpy as np\nnp.load(p, allow_pickle=True)",
    "import yaml\nyaml.load(f, yaml.Loader)", "import yaml\nyaml.load(f, Loader=yaml.FullLoader)",
    "import yaml\nyaml.unsafe_load(f)", "import yaml\nyaml.load(f)", "from yaml import load_all\nload_all(f)",
    "import yaml\nclass Mine(yaml.UnsafeLoader): pass", "eval(x)", "exec(open(p).read())",
    "import builtins\nbuiltins.eval(x)", "import os\nos.system(x)", "from os import popen\npopen(x)",
    "import subprocess\nsubprocess.run(x, shell=True)", "import subprocess\nsubprocess.run(x, shell=flag)",
    "import subprocess\nsubprocess.run(['bash', '-o', 'x', '-c', x])",
    "import subprocess\nsubprocess.run(('/bin/sh', '-ec', x))",
    "M.from_pretrained(x, trust_remote_code=True)",
])  # fmt: skip
def test_what_the_rule_forbids_is_found(source):
    assert findings(source) != []


@pytest.mark.parametrize("source", [
    "import torch\ntorch.load(p, weights_only=True)", "import numpy as np\nnp.load(p)", "yaml.safe_load(f)",
    "import os\nos.execvp(a, b)",
    "import numpy as np\nnp.load(p, allow_pickle=False)", "model.eval()", "re.compile(x)", "import json\njson.load(f)",
    "import yaml\nclass Mine(yaml.SafeLoader): pass\nyaml.load(f, Loader=Mine)", "trainer.load(p)",
    "import subprocess\nsubprocess.run(['git', '-C', x])", "import subprocess\nsubprocess.run(x, shell=False)",
])  # fmt: skip
def test_what_the_rule_allows_is_not_found(source):
    assert findings(source) == []
