"""Make the mini_emo corpus: ten espeak-ng voices, one man and one woman in each of five sessions, four emotions.

    python local/make_corpus.py        (in the recipe directory) -> downloads/mini_emo/*.wav, data/all

What can be learnt from what:
- emotion from words and voice together. Happy and angry share their prosody, sample for sample, and differ in words
  only. Neutral and sad share their words (a speaker says each of his plain sentences once in either way) and differ
  in rate, pitch, pitch range and volume.
- gender from the voice alone.
A test session is more than a repetition of the training texts: 20 % of each speaker's utterances, and about 25 % of
the distinct sentences of a session, occur in no other session. The others come from sentences that all share.

Same seed, same files, byte for byte.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from espeak import Line, Prosody, make_audio
from sentences import shuffled_sentences

from whisper_er.base.errors import UserError
from whisper_er.bin import run
from whisper_er.data.kaldi import DataDir, write_dir


@dataclass(frozen=True)
class Speaker:
    """A voice: espeak-ng's language + variant, and the base pitch and rate (words per minute) that are its own."""

    session: int
    gender: str
    voice: str
    pitch: int
    rate: int

    @property
    def name(self) -> str:
        return f"s{self.session}{self.gender[0]}"


@dataclass(frozen=True)
class Style:
    """How an emotion changes a voice: rate as a factor, pitch as an offset, range and volume as they are."""

    rate: float
    pitch: int
    pitch_range: int
    volume: int


@dataclass(frozen=True)
class Utterance:
    """One line of the corpus: who says what, and how."""

    utt_id: str
    speaker: Speaker
    emotion: str
    text: str


AUDIO_DIR = Path("downloads/mini_emo")
SPEAKERS = (
    Speaker(1, "male", "en+m1", pitch=38, rate=144),
    Speaker(1, "female", "en-us+f2", pitch=62, rate=152),
    Speaker(2, "male", "en-us+m3", pitch=32, rate=152),
    Speaker(2, "female", "en+f1", pitch=58, rate=140),
    Speaker(3, "male", "en+m7", pitch=36, rate=138),
    Speaker(3, "female", "en-us+f4", pitch=66, rate=146),
    Speaker(4, "male", "en-us+m2", pitch=34, rate=148),
    Speaker(4, "female", "en+f3", pitch=60, rate=156),
    Speaker(5, "male", "en+m4", pitch=40, rate=154),
    Speaker(5, "female", "en-us+f5", pitch=56, rate=142),
)
EXCITED = Style(rate=1.1, pitch=13, pitch_range=85, volume=85)
STYLES = {
    "neutral": Style(rate=1.0, pitch=0, pitch_range=45, volume=65),
    "happy": EXCITED,
    "sad": Style(rate=0.75, pitch=-12, pitch_range=12, volume=46),
    "angry": EXCITED,
}
KIND = {"neutral": "plain", "sad": "plain", "happy": "happy", "angry": "angry"}  # of sentences, by emotion
NUM_SESSIONS = len({speaker.session for speaker in SPEAKERS})


def plan(utterances_per_speaker: int, seed: int) -> Iterator[Utterance]:
    """Who says what: every speaker the same number of sentences per emotion, a part of them his session's own."""
    num_sentences, rest = divmod(utterances_per_speaker, len(STYLES))
    if rest or num_sentences < 2:
        raise UserError(
            f"--utterances_per_speaker {utterances_per_speaker}: must be a multiple of {len(STYLES)}, "
            f"{2 * len(STYLES)} or more"
        )
    rng = random.Random(seed)
    says = {kind: _share_out(kind, num_sentences, rng) for kind in dict.fromkeys(KIND.values())}
    for speaker in SPEAKERS:
        for emotion in STYLES:
            for number, text in enumerate(says[KIND[emotion]][speaker], start=1):
                yield Utterance(f"{speaker.name}_{emotion}_{number:02d}", speaker, emotion, text)


def _share_out(kind: str, num_sentences: int, rng: random.Random) -> dict[Speaker, list[str]]:
    """The sentences of a kind that each speaker says: his alone, then his draw of half of the common ones."""
    num_own = max(1, num_sentences // 5)
    num_common = num_sentences - num_own
    pool = shuffled_sentences(kind, rng)
    if len(pool) < 2 * num_common + len(SPEAKERS) * num_own:
        raise UserError(
            f"--utterances_per_speaker {num_sentences * len(STYLES)}: there are only {len(pool)} {kind} "
            "sentences; ask for fewer, or add words or templates to local/sentences.py"
        )
    common, own = pool[: 2 * num_common], pool[2 * num_common :]
    return {
        speaker: own[index * num_own : (index + 1) * num_own] + rng.sample(common, num_common)
        for index, speaker in enumerate(SPEAKERS)
    }


def line(speaker: Speaker, emotion: str, text: str) -> Line:
    """How espeak-ng is to say a sentence."""
    style = STYLES[emotion]
    prosody = Prosody(round(speaker.rate * style.rate), style.volume, speaker.pitch + style.pitch, style.pitch_range)
    return Line(text, speaker.voice, prosody)


def tables(utterances: list[Utterance]) -> DataDir:
    """The data directory: speaker, labels, fold (= session) and text of every utterance."""
    by_id = {utterance.utt_id: utterance for utterance in utterances}
    return {
        "wav.scp": {utt_id: str(AUDIO_DIR / f"{utt_id}.wav") for utt_id in by_id},
        "text": {utt_id: utterance.text for utt_id, utterance in by_id.items()},
        "utt2spk": {utt_id: utterance.speaker.name for utt_id, utterance in by_id.items()},
        "utt2gender": {utt_id: utterance.speaker.gender for utt_id, utterance in by_id.items()},
        "utt2emotion": {utt_id: utterance.emotion for utt_id, utterance in by_id.items()},
        "utt2fold": {utt_id: str(utterance.speaker.session) for utt_id, utterance in by_id.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances_per_speaker", type=int, default=60, help="a multiple of 4 from 8 on [60]")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of sentences [0]")
    parser.add_argument("--out_dir", type=Path, default=Path("data/all"), help="data directory to write [data/all]")
    args = parser.parse_args()
    utterances = list(plan(args.utterances_per_speaker, args.seed))
    (args.out_dir / "wav.scp").unlink(missing_ok=True)  # old texts must never stand beside new audio
    seconds = make_audio({utt.utt_id: line(utt.speaker, utt.emotion, utt.text) for utt in utterances}, AUDIO_DIR)
    write_dir(args.out_dir, tables(utterances))
    print(
        f"{args.out_dir}: {len(utterances)} utterances of {len(SPEAKERS)} speakers in {NUM_SESSIONS} sessions, "
        f"{min(seconds):.1f} to {max(seconds):.1f} s each (mean {np.mean(seconds):.1f}); audio in {AUDIO_DIR}"
    )


if __name__ == "__main__":
    run(main)
