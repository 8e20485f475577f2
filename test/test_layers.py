"""Who imports whom: a module imports its own layer and lower ones; every module has a place."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "whisper_er"
LAYERS = [
    "errors atomic plain_files lock stop distributed config device kaldi folds parts task token_list packed metrics"
    " resampling significance calibration batch text_normalizer corpus csv_corpus progress recognition"
    " recognition_formats pauses figures data_card",
    "audio audio_files audio_writer logmel format_audio hub whisper_sizes tokenizer grammar loss search checkpoint"
    " optimizer hf_tokenizer plain_snippet",
    "dataset recording experiment pairs scoring train_log bad_steps parallel training_state kept models models.base"
    " models.packed_linear models.encoder models.decoder models.encoder_classifier models.ssl_encoder models.seq2seq"
    " models.build models.size models.to_transformers models.ctranslate2_whisper",
    "validation trainer pretrained recognizer results result_tables results_markdown compare comparison_markdown report"
    " report.audio report.charts report.comparison report.curves report.experiment report.markup report.page"
    " report.scores report.speakers report.utterances demo_page demo_html demo_server model_card"
    " ctranslate2_conversion ctranslate2_check ctranslate2_card",
    "bin bin.* __main__",
]
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names.split()}


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


def layer(name: str) -> int:
    return LAYER["bin.*"] if name.startswith("bin.") else LAYER[name]


def wrong_arrows(arrows: dict[str, set[str]]) -> list[str]:
    wrong = []
    for name, targets in arrows.items():
        for target in targets:
            parts = {name.split(".")[0], target.split(".")[0]}
            if layer(target) > layer(name) or parts == {"dataset", "models"}:
                wrong.append(f"{name} -> {target}")
    return wrong


def cycle(arrows: dict[str, set[str]]) -> list[str]:
    """The modules that stand on a cycle or only lead to one; empty where there is none."""
    left = {name: set(targets) for name, targets in arrows.items()}
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_every_module_has_a_layer_and_every_place_a_module():
    found = {name for name in modules() if not name.startswith("bin.")}
    assert found - LAYER.keys() == set(), "place the new module in LAYERS"
    assert LAYER.keys() - found - {"bin.*"} == set(), "remove what is gone from LAYERS"


def test_no_module_imports_a_higher_layer_and_dataset_and_models_not_each_other():
    assert wrong_arrows(graph()) == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(graph()) == []


@pytest.mark.parametrize("importer, imported, allowed", [
    ("kaldi", "audio", False), ("trainer", "bin.train", False), ("trainer", "bin", False),
    ("scoring", "results", False), ("dataset", "models.base", False), ("models.seq2seq", "dataset", False),
    ("bin.decode", "bin.train", True), ("validation", "trainer", True), ("models.build", "tokenizer", True),
])  # fmt: skip
def test_the_rule_tells_wrong_arrows_from_right_ones(importer, imported, allowed):
    assert wrong_arrows({importer: {imported}}) == ([] if allowed else [f"{importer} -> {imported}"])


def test_a_circle_is_found_and_a_diamond_is_none():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


@pytest.mark.parametrize("statement", [
    "import whisper_er.kaldi", "from whisper_er import errors, kaldi", "from whisper_er.kaldi import read_dir",
    "def f():\n    from whisper_er import kaldi as k", "import whisper_er.kaldi as k, os",
])  # fmt: skip
def test_every_form_of_import_is_seen(statement):
    assert "kaldi" in imports(statement, {"kaldi", "audio"})


def test_the_walk_finds_arrows_that_are_known_to_be_there():
    arrows = graph()
    assert "tokenizer" in arrows["dataset"] and "recognizer" in arrows["bin.decode"]
    assert {"kaldi", "config"} <= arrows["bin.decode"] and "models.encoder" in arrows["models.seq2seq"]
