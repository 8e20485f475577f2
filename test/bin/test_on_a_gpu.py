"""Commands on a GPU, which is pretended: what they write on the CPU, with every tensor on the right device."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from unittest import mock

import pytest
import torch
from pretended_gpu import PretendedGraph, pretended_gpu, waits
from tiny_experiment import TASKS, call, decode_arguments, train_and_average, write_corpus, write_scale_and_votes

from whisper_er import Recognizer
from whisper_er.bin import decode, token_list
from whisper_er.data import kaldi
from whisper_er.graphs.passes import Passes
from whisper_er.models.seq2seq import WhisperER
from whisper_er.recognize.times import Times

# Rows of the new tokens that differ: of an untrained model's equal ones, rounding would choose the label. Dropout draws
# as many numbers as there are states, with graphs more.
DISTINCT = ["model.new_token_init=random", "model.whisper_sizes.init_std=0.3", "model.whisper_sizes.dropout=0"]
TRAININGS = {
    "serialmtl": ("token_list", ["model.specaug.time_masks=2", "model.train_pad={none: 0.5, to 1: 0.5}", "accum_grad=2",
                                 "optim.grad_clip=1", "optim.first_moment=bfloat16"]),
    "serialmtl, other losses": ("scale", ["loss.soft_labels=[emotion]", "loss.scale=ccc", "loss.task_weights.asr=0.5",
                                           "valid.predict=teacher_forced"]),
    "serialmtl, other labels": ("token_list", ["loss.category=focal", "loss.class_weights=inverse"]),
    "serialmtl, adapted": ("pretrained", ["lora.r=2", "model.new_token_init=random"]),
    "conventional": ("label_list", ["model.kind=encoder_classifier", "model.specaug.freq_masks=1", "accum_grad=2"]),
    "conventional, frozen": ("label_list", ["model.kind=encoder_classifier", "freeze=[encoder]",
                                            "model.layers=weighted", "model.pool=attentive"]),
    "conventional, scale": ("scale_labels", ["model.kind=encoder_classifier", "loss.scale=ordinal",
                                                 "loss.soft_labels=[emotion]"]),
}  # fmt: skip
DECODINGS = {
    "beam": ["beam_size=2"],
    "greedy": ["beam_size=1", "no_repeat_ngram_size=2", "suppress=whisper"],
    "free": ["grammar=free", "length_penalty=0.5", "decide=marginal"],
    "forced": ["teacher_forced=true"],
}


@contextmanager
def gpu_with_graphs() -> Iterator[None]:
    """Training and search by graphs, whose functions obey the rules of a capture."""
    gate = WhisperER.by_graphs

    def by_graphs(model, config, device):
        return gate(model, config, torch.device("cuda"))

    def passes(*arguments):
        return Passes(*arguments, rehearse=True)

    with (
        pretended_gpu(),
        mock.patch("whisper_er.graphs.captured.Rehearsal", PretendedGraph),
        mock.patch("whisper_er.step.backward.passes", passes),
        mock.patch.object(WhisperER, "by_graphs", by_graphs),
    ):
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory, whisper_directory):
    root = write_corpus(tmp_path_factory.mktemp("gpu") / "corpus")
    write_scale_and_votes(root)
    call(token_list, "--train_set", root / "train", "--tasks", TASKS, "--token_type", "whisper", "--whisper_model",
         whisper_directory, "--out_dir", root / "pretrained")  # fmt: skip
    return root


@pytest.mark.parametrize("name", TRAININGS)
def test_training_and_decoding_are_as_on_the_cpu(root, tmp_path, whisper_directory, name):
    tokens, options = TRAININGS[name]
    if tokens == "pretrained":
        pytest.importorskip("peft")
        options = ["--whisper_model", whisper_directory, "model.whisper_sizes={}", *options]
    else:
        options = [*DISTINCT, *options]
    with pretended_gpu():  # in which transformers draws other numbers when it opens a model
        expected = run(root, tmp_path / "cpu", tokens, options, ngpu=0)
    for graphs, gpu in (("off", pretended_gpu), ("auto", gpu_with_graphs)):
        with gpu():
            found = run(root, tmp_path / graphs, tokens, [*options, f"graphs={graphs}"], ngpu=1)
            assert bool(PretendedGraph.replays) == (graphs == "auto")
        assert found.keys() == expected.keys()
        assert {key: leaf for key, leaf in found.items() if leaf != pytest.approx(expected[key], abs=1e-3)} == {}


def run(root, exp, tokens: str, options: list[object], ngpu: int) -> dict[str, object]:
    """What training logs and every way of decoding finds, by name."""
    train_and_average(root, exp, "--token_list", root / tokens, "--ngpu", ngpu, *options)
    records = [json.loads(line) for line in (exp / "metrics.jsonl").read_text().splitlines()]
    found = {f"step {record['step']}": record.get("valid") or record["train"] for record in records}
    for name, decoding in DECODINGS.items():
        if name != "beam" and tokens != "token_list":
            continue
        call(decode, *decode_arguments(root, exp, exp / name, "--ngpu", ngpu, "maxlenratio=0.3", *decoding))
        found |= {f"{name} {table.name}": kaldi.read_table(table) for table in (exp / name).glob("[tu]*")}
        posteriors = map(json.loads, (exp / name / "posteriors.jsonl").read_text().splitlines())
        found |= {f"{name} {posterior['utt_id']}": posterior for posterior in posteriors}
    return flat(found)


def flat(tree: object, name: str = "") -> dict[str, object]:
    """The leaves of dictionaries and sequences, by the way to them."""
    if not isinstance(tree, dict | list | tuple):
        return {name: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {place: leaf for key, part in items for place, leaf in flat(part, f"{name} {key}").items()}


@pytest.mark.parametrize("times", [Times(words=True, emotion_every=0.2), Times(emotion_words=True, window=0.5)])
def test_recordings_are_recognised_as_on_the_cpu(trained, times):
    paths, found = list(kaldi.read_table(trained / "test" / "wav.scp").values()), []
    for device in ("cpu", "cuda"):
        with pretended_gpu() as gpu:
            recognizer = Recognizer.from_pretrained(trained / "exp", device, times=times)
            assert (recognizer.device == gpu) == (device == "cuda")
            found.append(flat([asdict(recording) for recording in recognizer(paths)]))
    assert any("words" in name or "emotions" in name for name in found[0])
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    with pretended_gpu() as gpu:
        on_gpu = torch.arange(3.0, device=gpu)
        for mixed in (lambda: on_gpu + torch.arange(3.0), lambda: torch.stack([on_gpu[0], torch.tensor(1.0)])):
            with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
                mixed()
        with pytest.raises((TypeError, RuntimeError)):
            on_gpu.numpy()
        assert waits == [] and (on_gpu + torch.tensor(1.0)).device == gpu
        three = torch.arange(3.0)
        for waiting in (
            on_gpu.tolist,
            on_gpu.cpu,
            lambda: float(on_gpu[0]),
            lambda: on_gpu[on_gpu > 1],
            lambda: on_gpu[[0, 1]],
            lambda: three.to(gpu),
        ):
            waits.clear()
            waiting()
            assert len(waits) == 1
            with pytest.raises(RuntimeError, match="operation not permitted when stream is capturing"):
                PretendedGraph(lambda _, function=waiting: {"": function()}, {}).replay()
