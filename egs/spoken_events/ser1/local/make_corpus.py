"""Make the spoken_events corpus: what happened tells the emotion, the voice tells nothing.

    python local/make_corpus.py        (in the recipe directory) -> downloads/spoken_events, data/{train,valid,test}

Every sentence of events.txt is spoken with the same neutral prosody by two voices. The voices of training, validation
and test differ, and so do the topics: a test sentence is about something that no training sentence is about.

Same files every time, byte for byte.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from espeak import Line, Prosody, make_audio
from events import Event, read_events

from whisper_er.bin import run
from whisper_er.data.kaldi import DataDir, write_dir


@dataclass(frozen=True)
class Voice:
    """A speaker: espeak-ng's language + variant, and a base pitch of its own."""

    name: str
    gender: str
    voice: str
    pitch: int


@dataclass(frozen=True)
class Utterance:
    """An event, spoken by a voice."""

    event: Event
    voice: Voice

    @property
    def utt_id(self) -> str:
        return f"{self.voice.name}_{self.event.event_id}"

    @property
    def line(self) -> Line:
        return Line(self.event.text, self.voice.voice, Prosody(RATE, VOLUME, self.voice.pitch, PITCH_RANGE))


AUDIO_DIR = Path("downloads/spoken_events")
RATE, VOLUME, PITCH_RANGE = 140, 90, 50  # of all voices and emotions; faster, whisper-base mishears the women more
VOICES = {
    "train": (
        Voice("m1", "male", "en-us+m1", pitch=42),
        Voice("f2", "female", "en-us+f2", pitch=40),
        Voice("m3", "male", "en-us+m3", pitch=38),
    ),
    "valid": (Voice("alex", "male", "en-us+Alex", pitch=42), Voice("f5", "female", "en-us+f5", pitch=40)),
    "test": (Voice("m7", "male", "en-us+m7", pitch=45), Voice("steph2", "female", "en-us+steph2", pitch=45)),
}


def plan() -> list[Utterance]:
    """Each event twice: by neighbours in the circle of its set's voices, the next two for the next event."""
    utterances = []
    for number, event in enumerate(read_events(Path(__file__).with_name("events.txt"))):
        voices = VOICES[event.set_name]
        utterances += [Utterance(event, voices[(2 * number + k) % len(voices)]) for k in range(2)]
    return utterances


def tables(utterances: list[Utterance]) -> DataDir:
    """The data directory: speaker, labels, event and text of every utterance."""
    by_id = {utterance.utt_id: utterance for utterance in utterances}
    return {
        "wav.scp": {utt_id: str(AUDIO_DIR / f"{utt_id}.wav") for utt_id in by_id},
        "text": {utt_id: utterance.event.text for utt_id, utterance in by_id.items()},
        "utt2spk": {utt_id: utterance.voice.name for utt_id, utterance in by_id.items()},
        "utt2gender": {utt_id: utterance.voice.gender for utt_id, utterance in by_id.items()},
        "utt2emotion": {utt_id: utterance.event.emotion for utt_id, utterance in by_id.items()},
        "utt2event": {utt_id: utterance.event.event_id for utt_id, utterance in by_id.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="gets train, valid and test [data]")
    args = parser.parse_args()
    utterances = plan()
    for set_name in VOICES:  # old texts must never stand beside new audio
        (args.data_dir / set_name / "wav.scp").unlink(missing_ok=True)
    seconds = make_audio({utterance.utt_id: utterance.line for utterance in utterances}, AUDIO_DIR)
    for set_name, voices in VOICES.items():
        chosen = [utterance for utterance in utterances if utterance.event.set_name == set_name]
        write_dir(args.data_dir / set_name, tables(chosen))
        print(f"{args.data_dir / set_name}: {len(chosen)} utterances of {len(voices)} voices")
    print(f"{min(seconds):.1f} to {max(seconds):.1f} s each (mean {np.mean(seconds):.1f}); audio in {AUDIO_DIR}")


if __name__ == "__main__":
    run(main)
