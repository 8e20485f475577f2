"""From dump directory to model: shared slots, 16-bit samples, kept audio. All of it changes the speed and no bit."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from stopped_runs import contents
from tiny_experiment import train_and_average, write_corpus
from tiny_ssl import classifier, write_model
from tiny_whisper import tiny_model

from whisper_er.audio import reading
from whisper_er.base.errors import UserError
from whisper_er.batch import Batch
from whisper_er.config import MAX_SAMPLES
from whisper_er.data import kaldi, shared_memory
from whisper_er.data.batches import load
from whisper_er.data.shared_memory import BatchSlots, SampleCache
from whisper_er.data.utterances import Utterances, read_utterances
from whisper_er.models.features import to_float
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer

PLAN = [[0], [3, 1, 2], [4], [10, 9], [5, 6, 7, 8]] * 3


def reencode(root, directory, suffix: str, subtype: str) -> None:
    """Write the audio of a dump directory anew, and name it in its wav.scp."""
    table = kaldi.read_table(root / directory / "wav.scp")
    for utt_id, entry in table.items():
        samples, table[utt_id] = reading.load_samples(entry, utt_id), str(root / f"{utt_id}.{suffix}")
        samples = reading.to_float(samples) if subtype == "FLOAT" else samples
        soundfile.write(table[utt_id], samples, 16000, subtype=subtype)
    kaldi.write_table(root / directory / "wav.scp", table)


@pytest.fixture
def flac(tmp_path):
    root = write_corpus(tmp_path / "flac")
    reencode(root, "train", "flac", "PCM_16")
    return root


def utterances_of(root) -> tuple[Utterances, Tokenizer]:
    tokenizer = load_tokenizer(root / "token_list")
    return read_utterances(root / "train", tokenizer, "error"), tokenizer


def batches(root, num_workers: int, cache: SampleCache | None = None) -> Iterator[Batch]:
    utterances, tokenizer = utterances_of(root)
    return load(utterances, PLAN, tokenizer, 40, num_workers, torch.device("cpu"), cache=cache)


def cache_of(root, max_bytes: float = 1e9) -> SampleCache:
    return SampleCache(utterances_of(root)[0].num_samples_N, max_bytes)


def assert_same(some, others) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.utt_ids == other.utt_ids
        assert one.tensors().keys() == other.tensors().keys()
        for name, tensor in one.tensors().items():
            assert tensor.dtype == other.tensors()[name].dtype and torch.equal(tensor, other.tensors()[name]), name


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_from_processes_are_those_of_this_one_and_stay_when_slots_are_used_again(corpus, num_workers):
    assert len(PLAN) > 2 * (2 * num_workers + 1)
    assert_same(list(batches(corpus, num_workers)), list(batches(corpus, 0)))


def test_a_slot_holds_the_largest_batch_in_float32(corpus):
    (batch,) = load(*utterances_of(corpus)[:1], [[0, 1]], utterances_of(corpus)[1], 40, 0, torch.device("cpu"))
    longest = replace(
        batch,
        wave_BS=torch.rand(2, MAX_SAMPLES),
        input_BL=torch.ones(2, 40, dtype=torch.long),
        target_BL=torch.ones(2, 40, dtype=torch.long),
        task_BL=torch.ones(2, 40, dtype=torch.long),
    )
    slots = BatchSlots(3, 2, 40, num_tasks=3)
    assert_same([slots.take(slots.park(longest, number=7), pinned=False)], [longest])


def test_an_error_of_a_reading_process_comes_as_it_is(flac):
    table = kaldi.read_table(flac / "train/wav.scp")
    kaldi.write_table(flac / "train/wav.scp", table | {"train-04": "none.flac"})
    with pytest.raises(UserError, match="^train-04: none.flac: no such file"):
        list(batches(flac, 2))


def test_decoded_audio_is_kept_for_the_next_round_of_other_processes(flac, corpus, monkeypatch):
    cache = cache_of(flac)
    first = list(batches(flac, 2, cache))
    assert cache.kept_N.all() and len(cache.kept_N) == 11
    monkeypatch.setattr(shared_memory, "decode", None)  # that would be called
    second = list(batches(flac, 2, cache))
    assert_same(first, second)
    assert_same(second, list(batches(corpus, 0)))  # the same audio as WAV


def test_what_is_beyond_the_bound_is_decoded_each_time(flac):
    samples = utterances_of(flac)[0].num_samples_N
    for fitting in (0, 3, 11):
        for more in (0, 1):  # bytes
            cache = cache_of(flac, 2 * samples[:fitting].sum() + more)
            assert_same(list(batches(flac, 0, cache)), list(batches(flac, 0)))
            assert cache.kept_N.tolist() == [True] * fitting and cache.samples_X.nbytes <= 2 * samples[:fitting].sum()


@pytest.mark.parametrize("suffix, subtype", [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_24")])
def test_neither_plain_wav_nor_more_than_16_bits_are_kept(tmp_path, suffix, subtype):
    root = write_corpus(tmp_path / "corpus")
    reencode(root, "train", suffix, subtype)
    cache = cache_of(root)
    kept = list(batches(root, 0, cache))
    assert not cache.kept_N.any()
    assert {batch.wave_BS.dtype for batch in kept} == {torch.int16 if subtype == "PCM_16" else torch.float32}


def test_long_audio_is_kept_as_far_as_it_is_read(tmp_path, monkeypatch):
    path, samples = str(tmp_path / "a.flac"), np.arange(MAX_SAMPLES + 5) % 999
    soundfile.write(path, samples.astype(np.int16), 16000)
    cache = SampleCache(np.array([len(samples), 7]), 1e9)
    first = cache.load(0, path, "utt").copy()
    cache.start_epoch()
    monkeypatch.setattr(shared_memory, "decode", None)
    np.testing.assert_array_equal(cache.load(0, path, "utt"), samples[:MAX_SAMPLES])
    np.testing.assert_array_equal(first, samples[:MAX_SAMPLES])
    assert cache.start_N1.tolist() == [0, MAX_SAMPLES, MAX_SAMPLES + 7]


@pytest.mark.usefixtures("no_git")
def test_a_training_decodes_once_and_gives_the_same_bits_with_and_without_the_cache(flac, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        shared_memory, "decode", lambda entry, utt_id: decoded.append(utt_id) or reading.decode(entry, utt_id)
    )
    runs = {}
    for gb in (1, 0):
        decoded.clear()
        runs[gb] = contents(train_and_average(flac, flac / f"exp{gb}", f"cache_gb={gb}"))
        assert len(decoded) == 11 if gb else len(decoded) > 33  # ten steps: three epochs and a step
    assert runs[0] | {"config.yaml": ""} == runs[1] | {"config.yaml": ""}
    train_and_average(flac, flac / "exp1", "cache_gb=0")  # may differ when a run is started again


def losses(model, batch: Batch) -> list[torch.Tensor]:
    """Of 16-bit samples, and of the same ones as float32."""
    assert batch.wave_BS.dtype == torch.int16
    as_float = replace(batch, wave_BS=batch.wave_BS / 32768)
    assert as_float.wave_BS.dtype == torch.float32
    return [model(one).loss.detach() for one in (batch, as_float)]


@pytest.mark.parametrize("kind, token_list", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])
def test_16_bit_samples_give_the_loss_of_float_samples_bit_by_bit(corpus, kind, token_list):
    tokenizer = load_tokenizer(corpus / token_list)
    utterances = read_utterances(corpus / "train", tokenizer, "error")
    (batch,) = load(utterances, [[3, 1, 2]], tokenizer, 40, 0, torch.device("cpu"))
    some, other = losses(tiny_model(tokenizer, kind=kind), batch)
    assert torch.equal(some, other) and some.isfinite()


def test_so_they_do_in_an_encoder_without_log_mel(corpus, tmp_path):
    write_model(tmp_path / "model", "wav2vec2", "base")
    model, _ = classifier(tmp_path / "model")
    (batch,) = load(utterances_of(corpus)[0], [[0, 1, 2]], model.tokenizer, 2, 0, torch.device("cpu"))
    some, other = losses(model.eval(), batch)
    assert torch.equal(some, other) and some.isfinite()


def test_one_float_file_makes_its_batch_float(corpus, tmp_path):
    root = write_corpus(tmp_path / "corpus")
    table = kaldi.read_table(root / "train/wav.scp")
    samples = reading.load_audio(table["train-01"], "train-01")
    soundfile.write(table["train-01"], samples, 16000, subtype="FLOAT")
    mixed, plain = list(batches(root, 0))[:3], list(batches(corpus, 0))[:3]
    assert [batch.wave_BS.dtype for batch in mixed] == [torch.int16, torch.float32, torch.int16]
    for one, other in zip(mixed, plain):
        assert torch.equal(to_float(one.wave_BS), to_float(other.wave_BS))
