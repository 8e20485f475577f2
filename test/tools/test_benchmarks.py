"""Every benchmark runs on a small model and ends in a line of JSON with a number in every cell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from transformers import WhisperConfig, WhisperForConditionalGeneration

SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}  # fmt: skip
CALLS = {
    "train": (["--utterances", "8", "--peer_batches", "1", "--batch_size", "4"], {"systems": 3}),
    "decode": (["--utterances", "8", "--batch_size", "4", "--tokens", "5", "--peers", "transformers"], {"systems": 2}),
    "data": (["--utterances", "60", "--workers", "0", "1", "--steps", "1", "--batch_size", "4"],
             {"opening": 2, "reading": 8, "training": 1}),
    "memory": (["--utterances", "8", "--batch_size", "4", "--computed_only", "--average", "3"],
               {"training": 5, "averaging": 1}),
    "saving": (["--rounds", "1"], {"saving": 2}),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    WhisperForConditionalGeneration(WhisperConfig(**SIZES, decoder_start_token_id=50258)).save_pretrained(path)
    return path


def run(path: str, *options: str | Path, cwd: Path = ROOT) -> str:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([path, *options], capture_output=True, text=True, env=env, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", CALLS)
def test_it_ends_in_its_figures_as_json(model, tmp_path, warm_python, name):
    options, tables = CALLS[name]
    python = sys.executable if name == "memory" else warm_python / "python"  # a fork's memory is not its own
    out = run(python, ROOT / "tools/benchmark" / f"{name}.py", "--model", model, *options, cwd=tmp_path)
    found = json.loads(out.splitlines()[-1])
    assert found["benchmark"] == name
    for table, number in tables.items():
        assert len(found[table]) == number
        for row in found[table]:
            assert all(value > 0 for key, value in row.items() if isinstance(value, float) and "waiting" not in key)


@pytest.mark.parametrize("script", ["egs/iemocap/ser1/paper.sh", "tools/benchmark/padding.sh"])
def test_a_script_finds_its_options_from_another_directory(script):
    assert "--" in run(script, "--help")  # a path that is relative to the top


def test_the_table_of_gpu_sh_sets_the_fastest_beside_the_goals(tmp_path):
    def write(part: str, benchmark: str, *rows: list) -> None:
        systems = [dict(zip(("system", "utt/s", "GPU busy"), row)) for row in rows]
        facts = {"benchmark": benchmark, "model": "base", "device": "a GPU", "systems": systems}
        (tmp_path / f"{part}.txt").write_text(f"a line\n{json.dumps(facts)}\n")

    write("train_base", "train", ["ours", 2100.0, 0.8], ["transformers, 30 s", 400.0, 0.9], ["ours is faster by", 5.25])
    write("train_base_eager", "train", ["ours", 500.0, 0.2])
    write("decode_base", "decode", ["ours", 900.0], ["transformers, 30 s", 80.0], ["CTranslate2, 30 s", 950.0])
    (tmp_path / "memory.txt").write_text("killed")
    training, large, decoding, *_ = run(sys.executable, ROOT / "tools/benchmark/gpu_table.py", tmp_path).splitlines()[
        1:
    ]
    for figure in ("2,100 (met: 2,000)", "5.25 (met: 5)", "0.8 (not met: 0.85)", "400"):
        assert figure in training
    assert "not measured" in large
    assert "900 (not met: 1,000)" in decoding and "11.2 (met: 10)" in decoding


def test_a_gpu_is_busy_where_any_of_its_kernels_runs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools/benchmark")
    from busy import covered

    assert covered([(5, 6), (0, 2), (1, 3), (1.5, 2)]) == 4
