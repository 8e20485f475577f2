"""Augmentation: keyed by seed, epoch and utterance; what each one does; one that is added by name."""

from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
import torch
from stopped_runs import StopAt, Stopped, contents
from tiny_experiment import call, train_and_average, train_arguments
from tiny_whisper import sound

from whisper_er.audio import effects
from whisper_er.audio.reading import load_audio
from whisper_er.base.errors import UserError
from whisper_er.base.settings import build, load
from whisper_er.bin import train
from whisper_er.config import MAX_SAMPLES, TrainConfig
from whisper_er.data.augment import (
    AUGMENTATIONS,
    Augmentation,
    Babble,
    Gain,
    Noise,
    Reverb,
    Speed,
    Telephone,
    augmentation,
    tables_of,
)
from whisper_er.data.batches import load as load_batches
from whisper_er.data.kaldi import read_table
from whisper_er.data.utterances import read_utterances
from whisper_er.models.features import to_float
from whisper_er.process import device
from whisper_er.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    """A table of two recordings, one shorter than the utterances."""
    directory, random = tmp_path_factory.mktemp("noises"), np.random.default_rng(0)
    for name, length in (("long", 40000), ("short", 700)):
        soundfile.write(directory / f"{name}.wav", random.normal(0, 0.1, length), 16000)
    table = directory / "wav.scp"
    table.write_text("".join(f"{name} {directory / name}.wav\n" for name in ("long", "short")))
    return table


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def level(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(samples.astype(np.float64) ** 2))


@pytest.mark.parametrize("snr", [-5.0, 20.0])
def test_noise_is_added_at_the_ratio_that_was_asked_for(noises, snr):
    samples = sound(16000, 1)
    for seed in range(4):  # both recordings
        noisy = Noise(str(noises), [snr, snr])(samples, generator(seed))
        assert level(samples) - level(noisy - samples) == pytest.approx(snr, abs=1e-3)
        assert (noisy.dtype, noisy.shape) == (samples.dtype, samples.shape)


def test_noise_comes_to_its_share_of_the_utterances_and_leaves_silence_alone(noises):
    samples = sound(2000, 1)
    changed = [Noise(str(noises), share=0.3)(samples, generator(seed)) is not samples for seed in range(200)]
    assert 0.2 < np.mean(changed) < 0.4
    silence = np.zeros(2000, np.float32)
    assert Noise(str(noises))(silence, generator()) is silence


def test_babble_is_the_sum_of_talkers_at_the_ratio_that_was_asked_for(noises):
    samples = sound(16000, 1)
    one, six = (Babble(str(noises), [3.0, 3.0], talkers=talkers)(samples, generator()) - samples for talkers in (1, 6))
    assert level(samples) - level(six) == pytest.approx(3, abs=1e-3)
    assert abs(np.corrcoef(one, six)[0, 1]) < 0.9  # others are among them
    assert np.array_equal(one, Noise(str(noises), [3.0, 3.0])(samples, generator()) - samples)


def test_gain_is_drawn_between_its_bounds_and_ends_where_something_would_clip():
    samples = np.float32(0.1) * np.sin(np.arange(1000, dtype=np.float32))
    changes = [level(Gain([-12.0, 6.0])(samples, generator(seed))) - level(samples) for seed in range(200)]
    assert min(changes) == pytest.approx(-12, abs=0.5) and max(changes) == pytest.approx(6, abs=0.5)
    loud = Gain([60.0, 60.0])(samples, generator())
    assert np.abs(loud).max() == pytest.approx(1, abs=1e-6) and loud.dtype == np.float32
    assert np.corrcoef(loud, samples)[0, 1] == pytest.approx(1, abs=1e-6)
    silence = np.zeros(9, np.float32)
    assert np.array_equal(Gain()(silence, generator()), silence)


def test_each_comes_to_its_share_and_leaves_the_others_as_they_are(noises):
    samples = sound(500, 1)
    for change in (Reverb(str(noises), share=0.3), Telephone(share=0.3), Gain(share=0.3)):
        assert 0.2 < np.mean([change(samples, generator(seed)) is not samples for seed in range(200)]) < 0.4


def test_a_room_is_one_of_the_table(noises):
    samples = sound(900, 1)
    rooms = {Reverb(str(noises))(samples, generator(seed)).tobytes() for seed in range(20)}
    expected = [effects.reverberate(samples, load_audio(entry, name)) for name, entry in read_table(noises).items()]
    assert rooms == {wet.tobytes() for wet in expected}


def test_a_repeat_in_the_epoch_is_drawn_anew_and_the_same_again(noises):
    change = augmentation({"reverb": {"files": str(noises)}, "gain": {}, "telephone": {"share": 0.5}}, seed=1)
    samples = sound(2000, 1)
    first, again, repeat, later = (change(epoch)("a", samples, repeat) for epoch, repeat in ((0, 0), (0, 0), (0, 1),
                                                                                             (1, 0)))  # fmt: skip
    assert np.array_equal(first, again) and not np.array_equal(first, repeat) and not np.array_equal(first, later)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_speed_moves_length_and_pitch_by_its_factor(factor):
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    changed = Speed([factor])(tone, generator())
    assert len(changed) == pytest.approx(16000 / factor, abs=2) and changed.dtype == np.float32
    peak = np.abs(np.fft.rfft(changed)).argmax() * 16000 / len(changed)
    assert peak == pytest.approx(1000 * factor, abs=2)


def test_what_slower_would_be_longer_than_whisper_reads_stays_as_it_is():
    samples = np.ones(MAX_SAMPLES - 10, np.float32)
    assert Speed([0.9])(samples, generator()) is samples and Speed([1.0])(samples, generator()) is samples


def batches(corpus, options: list[str], epoch: int, num_workers: int = 0, seed: int = 1):
    tokenizer = load_tokenizer(corpus / "token_list")
    config = load(TrainConfig, corpus / "train.yaml", options)
    utterances = read_utterances(corpus / "train", tokenizer, "error")
    change = augmentation(config.augment, seed)(epoch)
    plan = [[0, 1, 2], [3, 4]]
    return list(load_batches(utterances, plan, tokenizer, 40, num_workers, torch.device("cpu"), change))


def same(some, others) -> bool:
    return all(torch.equal(one.wave_BS, other.wave_BS) for one, other in zip(some, others, strict=True))


def test_samples_depend_on_seed_epoch_and_utterance_and_not_on_the_reading_processes(corpus, noises):
    options = ["augment.speed.factors=[0.8,1.25]", f"augment.noise.files={noises}"]
    first = batches(corpus, options, epoch=3)
    assert same(first, batches(corpus, options, epoch=3, num_workers=2))
    assert not same(first, batches(corpus, options, epoch=4))
    assert not same(first, batches(corpus, options, epoch=3, seed=2))
    plain = batches(corpus, [], epoch=3)
    assert not same(first, plain)
    utterance = read_utterances(corpus / "train", load_tokenizer(corpus / "token_list"), "error")[0]
    samples = torch.from_numpy(load_audio(utterance.audio, utterance.utt_id))
    assert torch.equal(to_float(plain[0].wave_BS)[0, : len(samples)], samples)  # off, nothing changes
    assert [len(batch.utt_ids) for batch in first] == [3, 2] and torch.equal(first[0].target_BL, plain[0].target_BL)


@pytest.mark.usefixtures("no_git")
def test_an_augmented_run_goes_on_bit_equal_where_it_was_stopped(corpus, noises, tmp_path, monkeypatch):
    options = ["augment.speed.factors=[0.8,1.25]", f"augment.noise.files={noises}", f"augment.reverb.files={noises}",
               "augment.reverb.share=0.5", "augment.telephone.mu_law=true", "augment.gain.db=[-6,6]", "max_steps=6",
               "keep_checkpoints=true"]  # fmt: skip
    whole = contents(train_and_average(corpus, tmp_path / "whole", *options))
    plain = contents(train_and_average(corpus, tmp_path / "plain", "max_steps=6"))
    assert whole["ave.safetensors"] != plain["ave.safetensors"]
    monkeypatch.setattr(device, "cores", lambda: 99)
    assert whole["data.yaml"] != plain["data.yaml"]  # the recordings are a part of the experiment
    with StopAt(8), pytest.raises(Stopped):
        call(train, *train_arguments(corpus, tmp_path / "stopped", *options, "num_workers=1"))
    stopped = contents(train_and_average(corpus, tmp_path / "stopped", *options, "num_workers=1"))
    assert stopped | {"config.yaml": ""} == whole | {"config.yaml": ""}


def test_the_order_in_the_configuration_does_not_matter_since_files_are_written_sorted(corpus, noises):
    options = ["augment.speed.factors=[0.8,1.25]", f"augment.noise.files={noises}"]
    assert same(batches(corpus, options, epoch=0), batches(corpus, options[::-1], epoch=0))


def test_a_configuration_says_every_option_also_those_that_nobody_wrote():
    config = build(TrainConfig, {"augment": {"speed": None}}, "train.yaml")
    assert config.augment == {"speed": {"factors": [0.9, 1.0, 1.1]}}
    assert build(TrainConfig, {"augment": None}, "train.yaml").augment == {}


def test_every_recording_of_noise_is_looked_at_before_training(tmp_path, noises):
    assert tables_of({"noise": {"files": str(noises)}}) == {"augment.noise.files": noises}
    soundfile.write(tmp_path / "b.wav", np.zeros(100), 8000)
    table = tmp_path / "wav.scp"
    table.write_text(f"{noises.read_text()}zz {tmp_path / 'b.wav'}\n")
    with pytest.raises(UserError, match="^zz: .*8000 Hz"):
        tables_of({"noise": {"files": str(table)}})
    with pytest.raises(UserError, match="3: no such file"):
        tables_of({"noise": {"files": 3}})


@dataclass
class Louder(Augmentation):
    factor: float = 2.0

    def __call__(self, samples, random):
        return samples * np.float32(self.factor)


def test_one_that_is_registered_is_chosen_by_its_name_with_its_options(corpus, monkeypatch):
    with pytest.raises(
        UserError, match="augment: 'louder' is not allowed; allowed: speed reverb noise babble telephone gain"
    ):
        build(TrainConfig, {"augment": {"louder": {}}}, "train.yaml")
    monkeypatch.setitem(AUGMENTATIONS, "louder", Louder)
    (plain, _), (loud, _) = batches(corpus, [], 0), batches(corpus, ["augment.louder.factor=3"], 0)
    assert torch.equal(loud.wave_BS, to_float(plain.wave_BS) * 3)


@pytest.mark.parametrize("augment, message", [
    ({"speed": {"factor": [1]}}, "augment.speed: unknown key 'factor'; did you mean 'factors'?"),
    ({"speed": {"factors": [0.0]}}, "augment.speed: factors: [0.0] is not allowed; allowed: numbers from 0.25 to 4"),
    ({"speed": {"factors": []}}, "augment.speed: factors: [] is not allowed"),
    ({"speed": 3}, "train.yaml: augment.speed: expected dict"),
    ({"noise": {}}, "augment.noise: files is missing: give a table of recordings, such as dump/noise/wav.scp"),
    ({"noise": {"files": "a", "snr": [20, 5]}}, "augment.noise: snr: [20.0, 5.0] is not allowed"),
    ({"noise": {"files": "a", "snr": "loud"}}, "augment.noise: snr: expected"),
    ({"noise": {"files": "a", "share": 2}}, "augment.noise: share: 2.0 is not allowed; allowed: 0 to 1"),
    ({"babble": {"files": "a", "talkers": 0}}, "augment.babble: talkers: 0 is not allowed; allowed: 1 to 100"),
    ({"reverb": {}}, "augment.reverb: files is missing: give a table of recordings, such as dump/rirs/wav.scp"),
    ({"gain": {"db": [3, -3]}}, "augment.gain: db: [3.0, -3.0] is not allowed"),
    ({"telephone": {"share": -1}}, "augment.telephone: share: -1.0 is not allowed; allowed: 0 to 1"),
    (["speed"], "train.yaml: augment: expected"),
])  # fmt: skip
def test_wrong_options_are_one_line(augment, message):
    with pytest.raises(UserError) as error:
        build(TrainConfig, {"augment": augment}, "train.yaml")
    assert message in str(error.value)


def test_recordings_that_cannot_be_used_as_noise_are_named(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((800, 2)), 8000)
    table, missing = tmp_path / "wav.scp", tmp_path / "none.scp"
    table.write_text(f"a {tmp_path / 'a.wav'}\n")
    with pytest.raises(UserError, match="8000 Hz, 2 channel"):
        Noise(str(table))(sound(100, 0), generator())
    with pytest.raises(UserError, match="none.scp: no such file"):
        Noise(str(missing))(sound(100, 0), generator())
    empty = tmp_path / "empty.scp"
    empty.touch()
    with pytest.raises(UserError, match="empty.scp: lists no recording"):
        Noise(str(empty))(sound(100, 0), generator())


def test_impulse_responses_that_cannot_be_used_are_named_before_training(tmp_path):
    table = tmp_path / "wav.scp"
    for samples, rate, message in (([0.0], 16000, "a: .*an impulse response of zeros alone"), ([1.0], 8000, "8000 Hz"),
                                   ([], 16000, "zero length")):  # fmt: skip
        soundfile.write(tmp_path / "a.wav", np.array(samples), rate)
        table.write_text(f"a {tmp_path / 'a.wav'}\n")
        with pytest.raises(UserError, match=message):
            tables_of({"reverb": {"files": str(table)}})
    with pytest.raises(UserError, match="none.scp: no such file"):
        tables_of({"reverb": {"files": str(tmp_path / "none.scp")}})
