"""tools/benchmark/padding.sh: which cells it runs, with stubs; its table, on results that are made up."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from repository import ROOT, TEMPLATE

from whisper_er.data.kaldi import read_dir, write_dir
from whisper_er.data.utterances import LENGTHS

TOOLS = ROOT / "tools/benchmark"
NOTE = f"""#!{sys.executable} -SE
import json, os, sys
from pathlib import Path
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.getcwd().split("/")[-2], *sys.argv]) + "\\n")
if "--out" in sys.argv:
    path = Path(sys.argv[sys.argv.index("--out") + 1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """padding.sh beside recipes whose run.sh, and a python that, only note how they were called."""
    root = tmp_path / "a checkout"
    shutil.copytree(TOOLS, root / "tools/benchmark")
    template = root / "egs/TEMPLATE/ser1"
    template.mkdir(parents=True)
    (template / "utils").symlink_to(TEMPLATE / "utils")
    (template / "path.sh").write_text(f"PATH={shlex.quote(str(root / 'bin'))}:${{PATH}}\n")
    for path in (root / "bin/python", root / "egs/emodb/ser1/run.sh", root / "egs/ravdess/ser1/run.sh"):
        path.parent.mkdir(parents=True)
        path.write_text(NOTE)
        path.chmod(0o755)
    return root


def calls(checkout: Path, *options: str) -> list[list[str]]:
    """[directory, program, argument ...] of each call."""
    log = checkout / "calls"
    log.unlink(missing_ok=True)
    env = os.environ | {"CALLS": str(log), "PYTHON": sys.executable}
    script = checkout / "tools/benchmark/padding.sh"
    given = ("--emodb", "/corpora/emo db", "--ravdess", "/corpora/ravdess", "--whisper_model", "base")
    done = subprocess.run([script, *given, *options], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in log.read_text().splitlines()]


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]


def test_every_cell_is_trained_and_tested_on_both_corpora(checkout):
    chosen = ("--corpora", "ravdess", "--pads", "to 10, mixed", "--seeds", "1 2", "--steps", "8")
    run = calls(checkout, *chosen)
    trainings = [call for call in run if call[1].endswith("run.sh") and "--ser_tag" in call]
    assert [(call[0], option(call, "--ser_tag"), option(call, "--folds")) for call in trainings] == [
        ("ravdess", f"{system}_{pad}_8", "4") for system in ("conventional", "a_g_s") for pad in ("to10", "mixed")
    ]
    prepared = [call for call in run if "--ser_tag" not in call and "--corpus_dir" in call]
    assert [option(call, "--corpus_dir") for call in prepared] == ["/corpora/emo db", "/corpora/ravdess"]
    assert option(trainings[0], "--ser_args").startswith("'model.pad=to 10'  max_steps=8 n_best=1")
    assert "'model.pad=none' 'model.train_pad={none: 0.8, 30s: 0.2}' max_steps=8" in option(trainings[1], "--ser_args")
    decodings = [call for call in run if "whisper_er.bin.decode" in call]
    assert len(decodings) == 8
    assert decodings[-1][0] == "emodb" and decodings[-1][-1] == "lang=de"
    assert option(decodings[-1], "--exp_dir") == "../../ravdess/ser1/exp/padding/a_g_s_mixed_8/seed2/fold4"
    assert option(decodings[-1], "--data_dir") == "dump/fold1/test_emotions_of_ravdess"
    assert not decodings[0][-1].startswith("lang")  # the conventional method has no prefix
    assert run[-1][1:] == [str(checkout / "bin/python"), "padding.py"]
    assert not [call for call in calls(checkout, *chosen) if "whisper_er.bin.decode" in call]


def test_the_test_of_the_other_corpus_has_the_emotions_of_both(tmp_path):
    emotions = {"u1": "happy", "u2": "calm", "u3": "sad"}
    data = {"utt2emotion": emotions, "wav.scp": {utt_id: f"{utt_id}.wav" for utt_id in emotions}}
    write_dir(tmp_path / "test", data)
    write_dir(tmp_path / "all", {"utt2emotion": {"v1": "sad", "v2": "bored", "v3": "happy"}})
    command = [sys.executable, TOOLS / "shared_labels.py", "--data_dir", tmp_path / "test", "--labels_of",
               tmp_path / "all", "--out_dir", tmp_path / "shared"]  # fmt: skip
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "2 of 3 utterances; left out: calm" in out
    assert read_dir(tmp_path / "shared")["wav.scp"] == {"u1": "u1.wav", "u3": "u3.wav"}


def write_cell(egs: Path, tag: str, seed: int, model: dict, ua: float, wer: float | None, other: bool) -> None:
    recipe = egs / "emodb/ser1"
    fold = recipe / "exp/padding" / tag / f"seed{seed}/fold1"
    for name, share in (("default", 1), *([("ravdess", 0.5)] if other else [])):
        tasks = {
            "emotion": {"ua": share * ua, "intervals": {"utterance": {"ua": [share * ua - 0.1, share * ua + 0.1]}}}
        }
        tasks |= {"asr": {"wer": share * wer}} if wer is not None else {}
        (fold / f"decode_{name}/test/score").mkdir(parents=True)
        (fold / f"decode_{name}/test/score/result.json").write_text(json.dumps({"tasks": tasks}))
    (fold / "checkpoints").mkdir()
    best = {"metric": "m", "n_best": 1, "finished": "x", "best": [{"step": 2, "accuracy": ua + 0.02, "loss": 1.0}]}
    (fold / "checkpoints/best.json").write_text(json.dumps(best))
    (fold / "environment.json").write_text('{"threads": "2"}')
    (fold / "config.yaml").write_text(yaml.safe_dump({"max_steps": 8, "model": model}, sort_keys=False))
    (recipe / "dump/fold1/test").mkdir(parents=True, exist_ok=True)
    (recipe / "dump/fold1/test" / LENGTHS).write_text("u1 16000\nu2 48000\n")


def test_the_table_has_both_tests_of_every_rule(tmp_path, warm_python):
    write_cell(tmp_path, "conventional_30s_8", 1, {"pad": "30s"}, 0.7, None, other=True)
    mixed = {"pad": "none", "train_pad": {"none": 0.8, "30s": 0.2}}
    write_cell(tmp_path, "a_g_s_mixed_8", 1, mixed, 0.6, 0.02, other=True)
    write_cell(tmp_path, "a_g_s_mixed_8", 2, mixed, 0.8, 0.04, other=True)
    write_cell(tmp_path, "a_g_s_to10_8", 1, {"pad": "to 10"}, 0.5, 0.0, other=False)
    command = [warm_python / "python", TOOLS / "padding.py", "--egs", tmp_path]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = json.loads(out.splitlines()[-1])["cells"]
    shown = [list(row.values())[1:] for row in rows]
    assert shown == [
        ["a_g_s", "1", 8, "none, trained with none 0.8 30s 0.2", 2, 2.0, "72.0 ± 14.1", "70.0 ± 14.1", "3.0 ± 1.4",
         "35.0 ± 7.1", "1.5 ± 0.7"],
        ["a_g_s", "1", 8, "to 10", 1, 10.0, "52.0", "50.0 [40.0 to 60.0]", "0.0", "-", "-"],
        ["conventional", "1", 8, "30s", 1, 30.0, "72.0", "70.0 [60.0 to 80.0]", "-", "35.0 [25.0 to 45.0]", "-"],
    ]  # fmt: skip
