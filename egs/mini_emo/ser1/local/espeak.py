"""Speak text with espeak-ng, whose library and voices come with the wheel `espeakng-loader`.

Shared by the recipes that speak their corpus: others link to this file.
"""

import ctypes
import multiprocessing
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import espeakng_loader
import numpy as np
import soundfile
import soxr

from whisper_er.config import SAMPLE_RATE

ESPEAK_RATE = 22050  # Hz, that of every espeak-ng voice
RANDOM_SEED = 1  # of the breath and the roughness of a voice; espeak-ng would take the time of day

# From espeak-ng's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
POSITION_IS_CHARACTER = 1
CHARS_ARE_UTF8 = 1
PARAMETER = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Prosody:
    """espeak-ng's settings of a voice: rate in words per minute; volume, pitch and range in espeak's own scales.

    volume: 0 to 200, 100 is usual.    pitch, pitch_range: 0 to 100, 50 is usual (range 0 is monotone).
    """

    rate: int
    volume: int
    pitch: int
    pitch_range: int


@dataclass(frozen=True)
class Line:
    """What one recording says, and how. voice: espeak-ng's language + variant, such as en-us+f2."""

    text: str
    voice: str
    prosody: Prosody


def make_audio(lines: Mapping[str, Line], audio_dir: Path) -> list[float]:
    """Speak all, as <id>.wav of a new directory that then becomes audio_dir; returns the durations in seconds."""
    part = audio_dir.with_name(f".{audio_dir.name}.new")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    seconds = []
    for utt_id, line in lines.items():
        samples = speak(line)
        soundfile.write(part / f"{utt_id}.wav", samples, SAMPLE_RATE)
        seconds.append(len(samples) / SAMPLE_RATE)
    if audio_dir.exists():
        shutil.rmtree(audio_dir)
    part.rename(audio_dir)
    return seconds


def speak(line: Line) -> np.ndarray:
    """int16 (samples,) at SAMPLE_RATE; the same line always gives the same samples."""
    samples = soxr.resample(_speak_alone(line).astype(np.float32), ESPEAK_RATE, SAMPLE_RATE)
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def _speak_alone(line: Line) -> np.ndarray:
    """int16 (samples,) at ESPEAK_RATE.

    espeak-ng carries the flutter of its voice from one sentence to the next, and initialising it again does not
    reset it. So each sentence is spoken by a child process that starts from the untouched library.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_speak_once, args=(sender, line))
    child.start()
    sender.close()
    try:
        pcm = receiver.recv_bytes()
    except EOFError:
        raise RuntimeError(f"espeak-ng failed on {line}") from None
    finally:
        child.join()
        receiver.close()
    return np.frombuffer(pcm, dtype=np.int16)


def _speak_once(sender: Connection, line: Line) -> None:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    pcm = bytearray()

    def keep(samples, num_samples, _events) -> int:
        pcm.extend(ctypes.string_at(samples, num_samples * ctypes.sizeof(ctypes.c_short)))
        return 0  # go on

    callback = SynthCallback(keep)  # held here: ctypes does not keep it alive for the library
    data_path = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, INITIALIZE_DONT_EXIT)
    assert rate == ESPEAK_RATE, f"espeak-ng starts with {rate} Hz"
    library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
    library.espeak_SetSynthCallback(callback)
    _check(library.espeak_SetVoiceByName(line.voice.encode()), "voice")
    for name, number in PARAMETER.items():
        _check(library.espeak_SetParameter(number, getattr(line.prosody, name), 0), name)
    data = line.text.encode() + b"\0"
    _check(
        library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, POSITION_IS_CHARACTER, 0, CHARS_ARE_UTF8, None, None),
        "text",
    )
    sender.send_bytes(pcm)


def _check(status: int, what: str) -> None:
    assert status == 0, f"espeak-ng refuses the {what} (status {status})"
