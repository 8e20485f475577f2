"""whisper_er.data.audio: files and ark entries against soundfile and kaldiio, and what bad audio gets."""

import kaldiio
import numpy as np
import pytest
import soundfile

from whisper_er.base.errors import UserError
from whisper_er.data.audio import AudioInfo, audio_info, load_audio
from whisper_er.data.kaldi import read_table

RATE = 16000


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20000, 20000, num_samples, dtype=np.int16)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_file_is_read_as_float32_between_minus_one_and_one(tmp_path, suffix):
    path = tmp_path / f"with a space.{suffix}"
    soundfile.write(path, noise(1000), RATE, subtype="PCM_16")
    samples = load_audio(str(path), "u")
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, noise(1000) / 32768)
    assert audio_info(str(path), "u") == AudioInfo(RATE, 1, 1000)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"write_function": "soundfile", "write_kwargs": {"format": "wav"}},
        {"write_function": "soundfile", "write_kwargs": {"format": "flac"}},
    ],
    ids=["riff", "AUDIO wav", "AUDIO flac"],
)
def test_each_entry_of_an_ark_that_kaldiio_wrote_is_read_alone(tmp_path, how):
    utt_ids = ["u0", "u1", "data", "LIST", "u4"]  # data and LIST: also names of a chunk of a RIFF file
    written = {utt_id: (RATE, noise(500 + 300 * i, i)) for i, utt_id in enumerate(utt_ids)}
    kaldiio.save_ark(str(tmp_path / "a.ark"), written, scp=str(tmp_path / "wav.scp"), **how)
    entries = read_table(tmp_path / "wav.scp")
    for utt_id, (_, samples) in reversed(written.items()):
        np.testing.assert_array_equal(load_audio(entries[utt_id], utt_id), samples / 32768)
        assert audio_info(entries[utt_id], utt_id) == AudioInfo(RATE, 1, len(samples))


def test_a_pickle_in_an_ark_is_not_unpickled(tmp_path):
    how = {"write_function": "pickle"}
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": noise(10)}, scp=str(tmp_path / "wav.scp"), **how)
    with pytest.raises(UserError, match="cannot be read as audio"):
        load_audio(read_table(tmp_path / "wav.scp")["u"], "u")


def test_a_command_is_not_run(tmp_path):
    with pytest.raises(UserError, match="utt7: touch .*: a command"):
        load_audio(f"touch {tmp_path}/made |", "utt7")
    assert not (tmp_path / "made").exists()


def bad_audio(tmp_path):
    """Yield (entry, what the message says) for everything that has no usable samples."""
    yield str(tmp_path / "none.wav"), "no such file"
    yield str(tmp_path / "none.ark:7"), "no such file"
    yield str(tmp_path), "cannot be read as audio"
    (tmp_path / "empty.wav").touch()
    yield str(tmp_path / "empty.wav"), "the file is empty"
    (tmp_path / "text.wav").write_text("this is not audio")
    yield str(tmp_path / "text.wav"), "cannot be read as audio"
    (tmp_path / "headless.raw").write_bytes(noise(100).tobytes())
    yield str(tmp_path / "headless.raw"), "cannot be read as audio"
    soundfile.write(tmp_path / "zero.wav", noise(0), RATE)
    yield str(tmp_path / "zero.wav"), "audio of zero length"
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": (RATE, noise(100))})
    yield f"{tmp_path / 'a.ark'}:1", "cannot be read as audio"
    yield f"{tmp_path / 'a.ark'}:99999", "cannot be read as audio"


def test_audio_without_usable_samples_is_an_error_that_names_utterance_and_file(tmp_path):
    for entry, reason in bad_audio(tmp_path):
        for read in (audio_info, load_audio):
            with pytest.raises(UserError) as error:
                read(entry, "utt7")
            assert str(error.value).startswith(f"utt7: {entry}: {reason}"), error.value
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 1), (RATE, 2)])
def test_another_rate_or_stereo_points_to_stage_1(tmp_path, rate, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(200 * channels).reshape(-1, channels), rate)
    assert audio_info(str(path), "utt7") == AudioInfo(rate, channels, 200)
    with pytest.raises(UserError, match=rf"utt7: .*a.wav: {rate} Hz, {channels} channel.*stage 1"):
        load_audio(str(path), "utt7")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_not_a_number_is_an_error(tmp_path, value):
    soundfile.write(tmp_path / "a.wav", np.array([0.0, value, 0.5]), RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="utt7: .*NaN or infinite"):
        load_audio(str(tmp_path / "a.wav"), "utt7")


def test_a_flac_file_that_was_cut_short_is_an_error(tmp_path):
    soundfile.write(tmp_path / "a.flac", noise(50_000), RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"utt7: .*a\.flac: cut short|cannot be read"):
        load_audio(str(tmp_path / "a.flac"), "utt7")
