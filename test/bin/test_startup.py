"""What the entry points load: nothing heavy before their options are read, and most of them nothing heavy at all."""

import json
import re
import subprocess
import sys

from repository import ROOT
from tiny_experiment import call, decode_arguments

from whisper_er import __main__ as command
from whisper_er.bin import decode
from whisper_er.data import kaldi

# Those that work with a model; averaging needs torch alone, for the mean of bfloat16 weights.
HEAVY = {"recognize", "demo", "info", "train", "average", "decode", "export", "export_ctranslate2", "model_info",
         "transcribe", "interpolate"}  # fmt: skip
LOAD_ALL = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(f"whisper_er.bin.{name}")
    if loaded := {"torch", "transformers", "scipy", "sklearn"} & sys.modules.keys():
        sys.exit(f"{name} loads {loaded}")
"""
RUN_ALL = """
import json, runpy, sys
for name, *words in json.load(open(sys.argv[1])):
    sys.argv = [name, *words]
    try:
        runpy.run_module(f"whisper_er.bin.{name}", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    allowed = {"torch"} if name == "average" else set()
    if loaded := {"torch", "transformers", "scipy", "sklearn"} & sys.modules.keys() - allowed:
        sys.exit(f"{name} loads {loaded}")
"""


def run(program: str, *words: object) -> None:
    argv = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_entry_point_loads_torch_or_transformers_before_its_options_are_read():
    run(LOAD_ALL, *command.names())


def test_entry_points_without_a_model_work_without_torch_and_transformers(scored, root):
    """In their order in a recipe; the last is averaging, which needs torch but no transformers."""
    sets, exp = {name: root / name for name in ("train", "valid", "test")}, root / "exp"
    spoken = {utt_id: name for name, path in sets.items() for utt_id in kaldi.read_table(path / "utt2spk")}
    rows = [f"{utt_id},{speaker},sad" for utt_id, speaker in spoken.items()]
    (root / "all.csv").write_text("\n".join(["file,speaker,emotion", *rows]) + "\n")
    (root / "corpora.yaml").write_text(f"one: {{dump: {root / 'dump'}, lang: en}}\n")
    (root / "spans").write_text("talk 0 1 sad\n")
    hyp, tasks = exp / "decode_x/test", "gender emotion"
    call(decode, *decode_arguments(root, exp, exp / "decode_x/valid", "--data_dir", sets["valid"]))
    table = ["wav.scp=file", "utt2spk=speaker", "utt2emotion=emotion"]
    calls = [
        ("csv_to_data", *table, "--csv", root / "all.csv", "--audio_dir", scored / "wav", "--num_folds", 3,
         "--out_dir", root / "data"),
        ("validate_data_dir", root / "data", "--tasks", "emotion"),
        ("format_data", "--data_dir", root / "data", "--out_dir", root / "dump/all"),
        ("check_audio", "--data_dir", root / "data", "--dump_dir", root / "dump/all"),
        ("make_folds", "--data_dir", root / "dump/all", "--out_dir", root / "dump", "--folds", "1 2"),
        ("pool_corpora", "--corpora", root / "corpora.yaml", "--sets", "one:fold1/train", "--out_dir", root / "pooled"),
        ("check_speakers", *(word for name, path in sets.items() for word in (f"--{name}_set", path))),
        ("token_list", "--train_set", sets["train"], "--tasks", "asr emotion", "--token_type", "bpe", "--bpe_size", 16,
         "--out_dir", root / "tokens"),
        ("augment_dir", "--data_dir", sets["test"], "--out_dir", root / "telephone", "telephone="),
        ("check_config", "--kind", "train", "--config", root / "train.yaml"),
        ("split_dir", "--data_dir", sets["test"], "--n", 2, "--out_dir", root / "parts", "--exp_dir", exp),
        ("combine_dirs", "--out_dir", root / "joined", root / "parts/1", root / "parts/2"),
        ("score", "--ref_dir", sets["test"], "--hyp_dir", hyp, "--tasks", tasks, "--exp_dir", exp,
         "--out", hyp / "score/result.json"),
        ("results", "--exp_dir", exp, "--test_sets", "test"),
        ("compare", "--first", exp, "--second", exp, "--out_dir", root / "compared"),
        ("ensemble", "--exp_dirs", exp, exp, "--inference_tag", "x", "--out_dir", root / "ensemble"),
        ("calibrate", "--exp_dir", exp, "--ref_dir", sets["valid"], "--hyp_dir", exp / "decode_x/valid"),
        ("eder", "--ref", root / "spans", "--hyp", root / "spans"),
        ("average", "--exp_dir", exp),
    ]  # fmt: skip
    assert {name for name, *_ in calls} == {*command.names()} - HEAVY | {"average"}
    (root / "calls.json").write_text(json.dumps([list(map(str, call)) for call in calls]))
    run(RUN_ALL, root / "calls.json")


def test_the_package_imports_neither_scipy_nor_sklearn():
    for path in (ROOT / "whisper_er").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"^ *(import|from) (scipy|sklearn)\b", source, re.MULTILINE), path
