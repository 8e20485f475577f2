"""Read the release's own files: labels, ratings and votes, transcripts, and which recordings are there.

Names that start with a dot (AppleDouble files, .DS_Store) ship with the release and are skipped; lines may end in CRLF.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whisper_er.base.errors import UserError

SESSIONS = ("1", "2", "3", "4", "5")
FOUR = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}  # the paper's classes
NO_MAJORITY = "xxx"  # the code of an utterance on which the evaluators did not agree
# The marker that follows Ses0<n> in a dialog's name is the actor with the motion capture, not the speaker. The part
# after the last underscore is the speaker's; a turn that was not segmented (_MXX0) has no recording.
UTTERANCE = re.compile(r"Ses0([1-5])[FM]_(impro|script)\w+_([FM])\d{3}")
LABEL_LINE = re.compile(r"\[(\d+(?:\.\d+)?) - [\d.]+\]\t(\S+)\t(\w+)\t\[([\d.]+), ([\d.]+), ([\d.]+)\]")
VOTE_LINE = re.compile(r"C-E\d+:\t([^\t]*)")  # of the evaluators; C-F1 and C-M1 are the actors' own
TEXT_LINE = re.compile(r"(\S+) \[[\d.]+-[\d.]+\]: ?(.*)")
VOTES = {
    "neutral": "neu",
    "neutral state": "neu",
    "happiness": "hap",
    "sadness": "sad",
    "anger": "ang",
    "surprise": "sur",
    "fear": "fea",
    "disgust": "dis",
    "frustration": "fru",
    "excited": "exc",
    "other": "oth",
}


@dataclass(frozen=True)
class Rated:
    """One utterance of EmoEvaluation. label: the raw code, such as exc; ratings 1 to 5; votes: raw code -> count;
    start: seconds from the start of its dialog."""

    utt_id: str
    label: str
    valence: str
    arousal: str
    dominance: str
    votes: Counter
    start: float = 0.0

    @property
    def dialog(self) -> str:
        return self.utt_id.rpartition("_")[0]

    @property
    def session(self) -> str:
        return UTTERANCE.fullmatch(self.utt_id)[1]

    @property
    def style(self) -> str:
        return {"impro": "improvised", "script": "scripted"}[UTTERANCE.fullmatch(self.utt_id)[2]]

    @property
    def gender(self) -> str:
        return {"F": "female", "M": "male"}[UTTERANCE.fullmatch(self.utt_id)[3]]

    @property
    def speaker(self) -> str:
        return f"Ses0{self.session}{self.gender[0].upper()}"


@dataclass(frozen=True)
class Release:
    """rated: by utterance id; texts as they are; wavs: absolute paths."""

    rated: dict[str, Rated]
    texts: dict[str, str]
    wavs: dict[str, Path]
    num_dialogs: int


def read_release(root: Path) -> Release:
    """Read all five sessions. UserError: a directory that is not there, a file that does not say what it should."""
    rated: dict[str, Rated] = {}
    texts, wavs, num_dialogs = {}, {}, 0
    for session in SESSIONS:
        place = root / f"Session{session}"
        for path in files(place / "dialog" / "EmoEvaluation", ".txt"):  # not those of its directories
            num_dialogs += 1
            for one in read_ratings(path):
                if one.utt_id in rated:
                    raise UserError(f"{path}: {one.utt_id} is rated twice; unpack the release again")
                rated[one.utt_id] = one
        for path in files(place / "dialog" / "transcriptions", ".txt"):
            texts |= read_texts(path)
        for directory in visible(place / "sentences" / "wav"):
            wavs |= {path.stem: path for path in files(directory, ".wav")}
    return Release(rated, texts, wavs, num_dialogs)


def read_ratings(path: Path) -> Iterator[Rated]:
    """An utterance's line starts with its times; the evaluators' lines follow it."""
    current = None
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith("["):
            if current:
                yield current
            found = LABEL_LINE.match(line)
            if not found or not UTTERANCE.fullmatch(found[2]):
                raise UserError(
                    f"{path}: line {number}: '{line}' is not `[start - end] id label [v, a, d]`; "
                    "unpack the release again"
                )
            start, *rating = found.groups()
            current = Rated(*rating, Counter(), float(start))
        elif current and (vote := VOTE_LINE.match(line)):
            for name in filter(None, (word.strip().lower() for word in vote[1].split(";"))):
                current.votes[VOTES.get(name, name.replace(" ", "_"))] += 1
    if current:
        yield current


def read_texts(path: Path) -> dict[str, str]:
    """Transcripts of the segmented turns: neither `M: ...` nor ids such as Ses01F_impro01_MXX0."""
    found = (TEXT_LINE.match(line) for line in read_lines(path))
    return {match[1]: match[2].strip() for match in found if match and UTTERANCE.fullmatch(match[1])}


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def files(directory: Path, suffix: str) -> list[Path]:
    return [path for path in visible(directory) if path.suffix == suffix]


def visible(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise UserError(
            f"{directory}: no such directory; --corpus_dir is IEMOCAP_full_release, with Session1 to Session5"
        )
    return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
