"""Speak text with espeak-ng, whose library and voices come with the wheel `espeakng-loader`."""

import ctypes
import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection

import espeakng_loader
import numpy as np

SAMPLE_RATE = 22050  # Hz, that of every espeak-ng voice
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


def speak(text: str, voice: str, prosody: Prosody) -> np.ndarray:
    """int16 (samples,) at SAMPLE_RATE; the same arguments always give the same samples.

    espeak-ng carries the flutter of its voice from one sentence to the next, and initialising it again does not
    reset it. So each sentence is spoken by a child process that starts from the untouched library.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_speak_once, args=(sender, text, voice, prosody))
    child.start()
    sender.close()
    try:
        pcm = receiver.recv_bytes()
    except EOFError:
        raise RuntimeError(f"espeak-ng failed on voice {voice}, {prosody}, text {text!r}") from None
    finally:
        child.join()
        receiver.close()
    return np.frombuffer(pcm, dtype=np.int16)


def _speak_once(sender: Connection, text: str, voice: str, prosody: Prosody) -> None:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    pcm = bytearray()

    def keep(samples, num_samples, _events) -> int:
        pcm.extend(ctypes.string_at(samples, num_samples * ctypes.sizeof(ctypes.c_short)))
        return 0  # go on

    callback = SynthCallback(keep)  # held here: ctypes does not keep it alive for the library
    data_path = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, INITIALIZE_DONT_EXIT)
    assert rate == SAMPLE_RATE, f"espeak-ng starts with {rate} Hz"
    library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
    library.espeak_SetSynthCallback(callback)
    _check(library.espeak_SetVoiceByName(voice.encode()), "voice")
    for name, number in PARAMETER.items():
        _check(library.espeak_SetParameter(number, getattr(prosody, name), 0), name)
    data = text.encode() + b"\0"
    _check(
        library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, POSITION_IS_CHARACTER, 0, CHARS_ARE_UTF8, None, None),
        "text",
    )
    sender.send_bytes(pcm)


def _check(status: int, what: str) -> None:
    assert status == 0, f"espeak-ng refuses the {what} (status {status})"
