"""Stage 4: the mean of the n best checkpoints."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tiny_experiment import call, train_and_average

from whisper_er.base import weights
from whisper_er.base.errors import UserError
from whisper_er.bin import average


def write_checkpoints(exp_dir, number: int, n_best: int, keep: bool = True) -> list[dict[str, np.ndarray]]:
    """Checkpoints of random weights as stage 3 lists them."""
    random = np.random.default_rng(0)
    (exp_dir / "checkpoints").mkdir(parents=True)
    weights, best = [], []
    for step in range(1, number + 1):
        scale = np.float32(10.0 ** (4 * step))  # a sum in float32 would lose the small ones
        weights.append({"a.weight": random.normal(size=(3, 5)).astype(np.float32) * scale,
                        "b": random.normal(size=7).astype(np.float32)})  # fmt: skip
        save_file(weights[-1], exp_dir / "checkpoints" / f"step{step:06d}.safetensors")
        best.append({"step": step, "accuracy": 0.5, "loss": 1.0})
    listed = {"metric": "valid_emotion_accuracy", "n_best": n_best, "finished": "max_steps=9 reached", "best": best}
    (exp_dir / "checkpoints" / "best.json").write_text(json.dumps(listed))
    (exp_dir / "config.yaml").write_text(f"keep_checkpoints: {str(keep).lower()}\n")
    return weights


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_the_average_is_the_mean_in_float64(tmp_path, number):
    weights = write_checkpoints(tmp_path, number, number)
    before = {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    call(average, "--exp_dir", tmp_path)
    found = load_file(tmp_path / f"valid_emotion_accuracy.ave_{number}best.safetensors")
    assert found.keys() == weights[0].keys()
    for name in found:
        expected = np.mean([part[name].astype(np.float64) for part in weights], axis=0).astype(np.float32)
        np.testing.assert_array_equal(found[name], expected)
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before


def test_integers_and_half_precision_keep_their_type(tmp_path):
    paths = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    for path, value in zip(paths, (1, 3)):
        half = torch.tensor([value, 2049 * value], dtype=torch.bfloat16)
        weights.save_weights({"count": torch.tensor(value), "half": half}, path)
    mean = weights.average(paths)
    assert (mean["count"].dtype, mean["half"].dtype) == (torch.int64, torch.bfloat16)
    assert (int(mean["count"]), float(mean["half"][0])) == (2, 2.0)


def test_averaging_uses_the_listed_checkpoints_of_a_real_run(corpus, tmp_path):
    train_and_average(corpus, tmp_path, "keep_checkpoints=true")
    listed = json.loads((tmp_path / "checkpoints/best.json").read_text())["best"]
    parts = [load_file(tmp_path / f"checkpoints/step{entry['step']:06d}.safetensors") for entry in listed]
    found = load_file(tmp_path / "ave.safetensors")
    assert len(parts) == 2 and any(np.any(parts[0][name] != parts[1][name]) for name in found)
    for name in found:
        np.testing.assert_array_equal(
            found[name], ((parts[0][name].astype(np.float64) + parts[1][name]) / 2).astype(np.float32)
        )


def test_fewer_checkpoints_than_n_best_are_said_in_the_log_and_in_the_name(tmp_path, capsys):
    write_checkpoints(tmp_path, 2, 10)
    call(average, "--exp_dir", tmp_path)
    log = capsys.readouterr().out
    assert "averaging 2 checkpoints" in log and "n_best is 10" in log
    assert os.readlink(tmp_path / "ave.safetensors") == "valid_emotion_accuracy.ave_2best.safetensors"


def test_as_many_checkpoints_as_n_best_are_not_called_few(tmp_path, capsys):
    write_checkpoints(tmp_path, 2, 2)
    call(average, "--exp_dir", tmp_path)
    assert "n_best" not in capsys.readouterr().out


def test_a_second_average_replaces_the_link(tmp_path):
    write_checkpoints(tmp_path, 2, 2)
    call(average, "--exp_dir", tmp_path)
    listed = json.loads((tmp_path / "checkpoints/best.json").read_text())
    (tmp_path / "checkpoints/best.json").write_text(json.dumps({**listed, "best": listed["best"][:1]}))
    call(average, "--exp_dir", tmp_path)
    assert os.readlink(tmp_path / "ave.safetensors") == "valid_emotion_accuracy.ave_1best.safetensors"


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_broken_checkpoint_is_named_and_no_average_appears(tmp_path, damage):
    write_checkpoints(tmp_path, 2, 2)
    path = tmp_path / "checkpoints" / "step000002.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(UserError) as caught:
        call(average, "--exp_dir", tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "config.yaml"]


def test_a_training_that_has_not_ended_is_not_averaged(tmp_path):
    write_checkpoints(tmp_path, 2, 2)
    listed = json.loads((tmp_path / "checkpoints/best.json").read_text())
    (tmp_path / "checkpoints/best.json").write_text(json.dumps({**listed, "finished": ""}))
    with pytest.raises(UserError, match="training has not ended; run stage 3 again"):
        call(average, "--exp_dir", tmp_path)
    assert not (tmp_path / "ave.safetensors").exists()
