"""Attention takes the fused kernel everywhere, with masks too, in training and in decoding."""

import torch
from tiny_experiment import write_corpus
from torch.utils._python_dispatch import TorchDispatchMode

from whisper_er.base.settings import load
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.data.batches import load as load_batches
from whisper_er.data.plan import by_length
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import load_tokenizer


class Names(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(function.name().split("::")[-1].split(".")[0])
        return function(*args, **(kwargs or {}))


def test_no_attention_falls_back_to_separate_products(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    tokenizer = load_tokenizer(corpus / "token_list")
    # Attention of transformers' layers has a dropout of its own, 0 in every Whisper.
    model = build_model(load(TrainConfig, corpus / "train.yaml"), tokenizer)
    utterances = read_utterances(corpus / "train", tokenizer, "error")
    (batch,) = load_batches(
        utterances, by_length(utterances.num_samples_N, 16), tokenizer, model.max_target, 0, torch.device("cpu")
    )
    assert len(set(batch.samples_B.tolist())) > 1  # padded, hence masked
    with Names() as training:
        model.train()(batch).loss.backward()
    with Names() as decoding:
        model.eval().predict(batch, DecodeConfig())
    fused = "_scaled_dot_product_flash_attention_for_cpu"
    assert training.seen.count(fused) == training.seen.count(f"{fused}_backward") == 3  # encoder, decoder, cross
    assert decoding.seen.count(fused) >= 3
    for names in (training.seen, decoding.seen):
        assert not {"_softmax", "_safe_softmax"} & set(names)
