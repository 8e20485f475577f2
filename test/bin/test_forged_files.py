"""Small files of large or unwanted effect: claims of hours, a model's own code, lying headers, dollars in a label."""

import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_recipe import Recipe, option

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.base.hub import load_pretrained
from whisper_er.config import TrainConfig, load
from whisper_er.data import kaldi
from whisper_er.data.audio import MOST_SAMPLES, audio_info, load_audio
from whisper_er.data.folds import make_folds
from whisper_er.data.format_audio import format_data
from whisper_er.report import plots
from whisper_er.score.figures import CategoryFigures
from whisper_er.task import Task, scale
from whisper_er.train.weights import load_weights


class Touch:
    """Unpickled, it makes the file `marker`."""

    def __reduce__(self):
        return os.system, ("touch marker",)


@pytest.mark.parametrize("config", [{"model_type": "whisper"}, {"model_type": "mine", "auto_map": {
    "AutoConfig": "evil.C", "AutoModel": "evil.M"}}])  # fmt: skip
def test_a_pretrained_directory_runs_nothing_and_asks_nothing(tmp_path, monkeypatch, config):
    from transformers import AutoModel, WhisperModel

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question at the terminal"))
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 8}
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text(json.dumps(config | sizes))
    (tmp_path / "m/evil.py").write_text("import os; os.system('touch marker')\n")
    torch.save({"x": Touch()}, tmp_path / "m/pytorch_model.bin")
    for kind in (AutoModel, WhisperModel):
        with pytest.raises(UserError, match="whisper_model 'm' cannot be loaded"):
            load_pretrained(kind, "m")
    assert not (tmp_path / "marker").exists()


shapes = st.lists(st.sampled_from([0, 1, 2, 3, 2**40, 2**63, -1]), max_size=4)
dtypes = st.sampled_from(["F32", "F8_E4M3", "BOOL", "I64", "U64", "BF16", "F4", "C64", "X"])


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(dtype=dtypes, shape=shapes, end=st.sampled_from([0, 1, 4, 8, 24, 2**62]))
def test_a_header_of_safetensors_that_lies_is_refused(tmp_path_factory, dtype, shape, end):
    header = json.dumps({"t": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()
    path = tmp_path_factory.getbasetemp() / "lies.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\1" * min(end, 24))
    try:
        load_weights(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: cannot be read as safetensors")


def test_a_result_that_is_not_utf8_is_written_anew(tmp_path):
    (tmp_path / "result.json").write_bytes(b"\xff\xfe")
    write_text(tmp_path / "result.json", "{}\n")
    assert (tmp_path / "result.json").read_text() == "{}\n"


def test_a_header_that_claims_days_does_not_pass_stage_1(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(400), 16000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21:26] = (int.from_bytes(content[21:26], "big") | (2**36 - 2)).to_bytes(5, "big")  # samples, 36 bits
    (tmp_path / "a.flac").write_bytes(content)
    kaldi.write_dir(tmp_path / "data", {"wav.scp": {"u": str(tmp_path / "a.flac")}, "utt2spk": {"u": "s"}})
    for read in (audio_info, load_audio, lambda *_: format_data(tmp_path / "data", tmp_path / "dump")):
        with pytest.raises(UserError, match="u: .*a.flac: [0-9]+ s; allowed are 8389 s in one utterance"):
            read(str(tmp_path / "a.flac"), "u")


def test_hours_of_silence_in_a_small_file_are_refused_unless_segments_cut_them(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(MOST_SAMPLES + 160_000, dtype=np.int16), 16000)
    with pytest.raises(UserError, match="8399 s; allowed are 8389 s in one utterance: cut it with segments"):
        load_audio(str(tmp_path / "a.flac"), "u")
    data = {"wav.scp": {"r": str(tmp_path / "a.flac")}, "segments": {"u": "r 8000 8000.5"}, "utt2spk": {"u": "s"}}
    kaldi.write_dir(tmp_path / "data", data)
    format_data(tmp_path / "data", tmp_path / "dump")
    assert kaldi.read_table(tmp_path / "dump/utt2num_samples") == {"u": "8000"}


def test_a_fold_of_its_own_for_every_utterance_takes_no_quadratic_time(tmp_path):
    ids = [f"u{i:05}" for i in range(20_000)]
    kaldi.write_dir(tmp_path / "all", {
        "wav.scp": dict.fromkeys(ids, "a.wav"), "utt2spk": {utt_id: utt_id for utt_id in ids},
        "utt2fold": {utt_id: str(number + 1) for number, utt_id in enumerate(ids)},
    })  # fmt: skip
    start = time.process_time()
    with pytest.raises(UserError, match="--folds 'x': allowed are 1 2"):
        make_folds(tmp_path / "all", tmp_path, ["x"])
    assert time.process_time() - start < 5


def test_dollars_in_a_label_are_no_mathematics(tmp_path):
    pytest.importorskip("matplotlib")
    task = Task("emotion", "category", ("$\\frac$", "a$b$c^"))
    plots.save_confusion({"$\\oops$": CategoryFigures(task, confusion=[[1, 0], [0, 1]])}, tmp_path / "figure")
    assert "$\\frac$" in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize("low, high, bins", [(-np.inf, np.inf, 3), (0, np.inf, 3), (np.nan, 1, 3), (0, 1, 10**12)])
def test_a_scale_without_ends_or_with_endless_bins_is_refused(low, high, bins):
    with pytest.raises(UserError, match="scale valence="):
        scale("valence", low, high, bins)


@pytest.mark.parametrize(
    "override",
    ["model.whisper_sizes={encoder_layers: 1000000000}", "model.whisper_sizes={d_model: 1000000000}", "optim.lr=1e30"],
)
def test_a_size_or_a_rate_that_no_model_has_is_refused(tmp_path: Path, override):
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(UserError, match="at most 10+"):
        load(TrainConfig, tmp_path / "a.yaml", [override])


def test_no_log_lies_in_the_directory_that_its_command_replaces(tmp_path):
    recipe = Recipe(tmp_path / "ser1")
    calls = recipe.calls("--token_type", "bpe", SETS="train valid test")  # ready sets
    (made,) = [option(call, "--out_dir") for call in calls if call[0] == "token_list"]
    assert not list((recipe.directory / made).rglob("*.log"))
    assert list((recipe.directory / "data/token_list/log").glob("*.log"))
