"""augment_dir: copies of a test set, with noise at a ratio that can be measured, and everything else as it was."""

import numpy as np
import pytest
import soundfile
import yaml
from entry_point import error_of
from tiny_experiment import call

from whisper_er.audio.reading import load_audio
from whisper_er.base.errors import UserError
from whisper_er.bin import augment_dir
from whisper_er.data import kaldi


def arguments(corpus, out_dir, *options: str) -> list:
    return ["--data_dir", corpus / "test", "--out_dir", out_dir, *options]


def babble(corpus, snr: int) -> list[str]:
    """Of two utterances of the training set."""
    return [f"babble.files={corpus}/train/wav.scp", f"babble.snr=[{snr},{snr}]", "babble.talkers=2"]


def audio(directory) -> dict[str, np.ndarray]:
    entries = kaldi.read_table(directory / "wav.scp")
    return {utt_id: load_audio(entry, utt_id).astype(np.float64) for utt_id, entry in entries.items()}


def test_copies_have_the_noise_that_was_asked_for_at_the_same_place_and_all_tables(corpus, tmp_path, capsys):
    for snr in (20, 5):
        call(augment_dir, *arguments(corpus, tmp_path / f"{snr}dB", *babble(corpus, snr)))
    source, clean = kaldi.read_dir(corpus / "test"), audio(corpus / "test")
    little, much = audio(tmp_path / "20dB"), audio(tmp_path / "5dB")
    assert "turned down" not in capsys.readouterr().out
    for utt_id, samples in clean.items():
        noises = little[utt_id] - samples, much[utt_id] - samples
        for added, snr in zip(noises, (20, 5)):
            assert 10 * np.log10((samples**2).sum() / (added**2).sum()) == pytest.approx(snr, abs=0.05)
        assert np.corrcoef(*noises)[0, 1] > 0.999
    copy = kaldi.read_dir(tmp_path / "5dB")
    assert copy | {"wav.scp": ""} == source | {"wav.scp": ""}
    made = yaml.safe_load((tmp_path / "5dB/augment.yaml").read_text())
    assert made["seed"] == 0 and made["augment"]["babble"]["snr"] == [5, 5] and made["augment"]["babble"]["share"] == 1


def test_a_copy_depends_on_the_seed_alone_and_replaces_itself(corpus, tmp_path):
    options = [*babble(corpus, 5), "telephone="]
    for name, seed in (("1", "1"), ("again", "2"), ("again", "1"), ("2", "2")):
        call(augment_dir, *arguments(corpus, tmp_path / name, *options, "--seed", seed, "--audio_format", "wav.ark"))
    first, again, other = (audio(tmp_path / name) for name in ("1", "again", "2"))
    assert all(np.array_equal(first[utt_id], again[utt_id]) for utt_id in first)
    assert not any(np.array_equal(first[utt_id], other[utt_id]) for utt_id in first)


def test_folds_lengths_and_what_would_clip(tmp_path, capsys):
    loud = np.random.default_rng(0).uniform(-0.9, 0.9, 8000)
    soundfile.write(tmp_path / "a.wav", loud, 16000)
    for fold in "12":
        data = {
            "wav.scp": {"a": str(tmp_path / "a.wav")},
            "utt2spk": {"a": f"s{fold}"},
            "utt2num_samples": {"a": "8000"},
        }
        kaldi.write_dir(tmp_path / fold / "test", data)
    options = [f"noise.files={tmp_path}/JOB/test/wav.scp", "noise.snr=[0,0]", "speed.factors=[2.0]"]
    call(
        augment_dir, "--folds", "1 2", "--data_dir", tmp_path / "JOB/test", "--out_dir", tmp_path / "JOB/fast", *options
    )
    for fold in "12":
        copy = kaldi.read_dir(tmp_path / fold / "fast")
        assert (copy["utt2spk"], copy["utt2num_samples"]) == ({"a": f"s{fold}"}, {"a": "4000"})
        samples = audio(tmp_path / fold / "fast")["a"]
        assert 0.99 < np.abs(samples).max() <= 1 and (np.abs(samples) > 0.999).sum() < 3  # scaled, not cut off
    assert "1 are turned down to full scale: a" in capsys.readouterr().out


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(corpus, tmp_path):
    def error(*options: str, **paths) -> str:
        with pytest.raises(UserError) as error:
            call(augment_dir, *arguments(corpus, paths.get("out", tmp_path / "out"), *options))
        return str(error.value)

    assert error("loud.x=1").startswith("options: augment: 'loud' is not allowed; allowed: speed reverb noise")
    assert error("noise.files=none.scp") == "none.scp: no such file"
    assert "--out_dir is --data_dir" in error("gain=", out=corpus / "test")
    assert "--seed -1: allowed is 0 or more" in error("gain=", "--seed", "-1")
    assert "expected key=value" in error_of("augment_dir", *arguments(corpus, tmp_path / "out", "gain"))
    assert not list(tmp_path.iterdir())
