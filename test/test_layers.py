"""Folders are the layers: a folder imports itself and those that stand above it in the list."""

import ast
from pathlib import Path

import pytest
from repository import ROOT

PACKAGE = ROOT / "whisper_er"
WORDS = "words"  # what task, config and batch stand for: the three words that every folder shares
FOLDERS = [
    "base", "process", WORDS, "graphs", "text", "audio", "data", "corpora", "score", "search", "models", "adapt",
    "step", "train", "timing", "recognize", "retain", "report", "export", "demo", "bin",
]  # fmt: skip
STRANGERS = {"data", "models"}  # these two never import each other
MOST_FILES = 14  # in a folder but bin/


def folder_of(name: str) -> str:
    """Of a module's name below whisper_er."""
    if name in ("task", "config", "batch"):
        return WORDS
    return "bin" if name == "__main__" else name.split(".")[0]


def modules() -> dict[str, Path]:
    """Name below whisper_er -> file; a package is its __init__.py."""
    paths = (path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(source: str, known: set[str]) -> set[str]:
    """Modules of the package that a source names in an import, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.removeprefix("whisper_er.") for name in names if name.startswith("whisper_er.")}
    return found & known


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(path.read_text(encoding="utf-8"), set(known)) for name, path in known.items()}


def wrong_arrows(arrows: dict[str, set[str]]) -> list[str]:
    wrong = []
    for name, targets in arrows.items():
        for target in targets:
            below, above = folder_of(name), folder_of(target)
            if FOLDERS.index(above) > FOLDERS.index(below) or {below, above} == STRANGERS:
                wrong.append(f"{name} -> {target}")
    return wrong


def cycle(arrows: dict[str, set[str]]) -> list[str]:
    """The modules that stand on a cycle or only lead to one; empty where there is none."""
    left = {name: set(targets) for name, targets in arrows.items()}
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_every_folder_is_in_the_list_and_holds_no_more_than_one_can_find_things_in():
    assert {folder_of(name) for name in modules()} == set(FOLDERS)
    for folder in {*FOLDERS} - {"bin", WORDS}:
        assert len(list((PACKAGE / folder).glob("*.py"))) <= MOST_FILES, folder


def test_an_init_file_is_a_line_of_docstring_and_imports_nothing():
    for path in PACKAGE.glob("*/__init__.py"):
        if path.parent.name != "bin":  # what its entry points share
            (docstring,) = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant), path


def test_no_module_imports_a_folder_below_its_own_and_data_and_models_not_each_other():
    assert wrong_arrows(graph()) == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(graph()) == []


@pytest.mark.parametrize("importer, imported, allowed", [
    ("data.kaldi", "models.base", False), ("train.trainer", "bin.train", False), ("train.trainer", "bin", False),
    ("base.errors", "task", False), ("text.tokenizer", "data.utterances", False),
    ("models.seq2seq", "data.utterances", False), ("bin.decode", "bin.train", True), ("__main__", "bin", True),
    ("train.validation", "train.trainer", True),
    ("models.build", "text.tokenizer", True), ("data.collate", "batch", True),
])  # fmt: skip
def test_the_rule_tells_wrong_arrows_from_right_ones(importer, imported, allowed):
    assert wrong_arrows({importer: {imported}}) == ([] if allowed else [f"{importer} -> {imported}"])


def test_no_test_imports_from_another_test():
    for path in (ROOT / "test").rglob("test_*.py"):
        statements = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = [node.module or "" for node in statements if isinstance(node, ast.ImportFrom)]
        assert not [name for name in names if name.startswith("test_")], f"{path}: what tests share is in test/support"


def test_a_circle_is_found_and_a_diamond_is_none():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


@pytest.mark.parametrize("statement", [
    "import whisper_er.data.kaldi", "from whisper_er.data import kaldi, labels",
    "from whisper_er.data.kaldi import read_dir", "def f():\n    from whisper_er.data import kaldi as k",
    "import whisper_er.data.kaldi as k, os",
])  # fmt: skip
def test_every_form_of_import_is_seen(statement):
    assert "data.kaldi" in imports(statement, {"data.kaldi", "data.audio"})


def test_the_walk_finds_arrows_that_are_known_to_be_there():
    arrows = graph()
    assert "text.tokenizer" in arrows["data.collate"] and "recognize.recognizer" in arrows["bin.decode"]
    assert {"data.utterances", "config"} <= arrows["bin.decode"] and "models.encoder" in arrows["models.seq2seq"]
