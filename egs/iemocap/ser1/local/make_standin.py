"""A stand-in for IEMOCAP: its layout, grammar of ids, file formats, quirks and counts, with invented words and sounds.

    python local/make_standin.py --out_dir downloads/standin                  # 10039 utterances, 151 dialogs
    python local/make_standin.py --out_dir downloads/small --per_cell 2       # 2 of each speaker, style and class
    ./run.sh --iemocap downloads/standin --local_data_opts "--id_list downloads/standin/standin_ids.txt"

Nothing in it is from the corpus but what published.yaml counts. A recipe that runs on it is sound in its plumbing; its
figures mean nothing.
"""

import argparse
import random
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import yaml
from standin_files import write_session

from whisper_er.base.errors import UserError
from whisper_er.bin import run
from whisper_er.config import SAMPLE_RATE

GENDERS = {"female": "F", "male": "M"}
PITCH = {"F": 210.0, "M": 120.0}  # Hz
SWING = {"ang": 0.5, "hap": 0.3, "exc": 0.3, "neu": 0.1, "sad": 0.02}  # of the pitch, by class
SWINGS_PER_SECOND = {"ang": 9.0, "hap": 5.0, "exc": 5.0, "neu": 3.0, "sad": 1.0}
LONG = {"Ses05M_script02_1_M030": 34.14, "Ses05M_script02_2_F013": 30.5}  # seconds; Whisper reads 30
NUM_EMPTY = 31  # transcripts of the four classes in which nothing is left once tags and punctuation go
NO_WORDS = ("[LAUGHTER]", "[BREATHING].", "[GARBAGE]", "[garbage] ...", "[LIPSMACK]")
WORDS = {
    "ang": "You never listen to a word, do you?|Get out of my kitchen now!|That is not what we agreed, is it?",
    "hap": "What a lovely parcel this is!|We are going to the lake tomorrow.|She said yes, can you believe it?",
    "exc": "We won, we really won!|Oh, they are flying us to the coast!|I can't wait for the party.",
    "neu": "The form is on the second desk.|It opens at nine, I think.|Okay, put it in the other drawer.",
    "sad": "He is not coming back, is he.|I miss the old garden.|There was nothing left to say.",
    "other": "Why is this line so long?|I told them about the bag twice.|Well, what would you do?",
}
OPENERS = ("", "Well, ", "I mean, ", "Look. ", "[LAUGHTER] ", "Uh ", "[BREATHING] ")


@dataclass
class Line:
    """One utterance. label: raw code; seconds: length of its sound."""

    session: int
    label: str
    gender: str
    style: str
    utt_id: str = ""
    text: str = ""
    seconds: float = 0.0
    votes: tuple[str, ...] = field(default=())


def plan(published: dict, rng: random.Random) -> dict[str, list[Line]]:
    """All utterances by dialog, with the published counts of labels, speakers and styles."""
    four = published["four_classes"]
    others = [raw for raw, count in published["labels"].items() if raw not in four[1] for _ in range(count)]
    rng.shuffle(others)
    left = published["styles"]["improvised"], sum(published["styles"].values())
    dialogs: dict[str, list[Line]] = {}
    for session, counts in four.items():
        labels = [raw for raw, count in counts.items() for _ in range(count)]
        improvised = round(left[0] * len(labels) / left[1])
        left = left[0] - improvised, left[1] - len(labels)
        genders = [gender for gender, count in published["genders"][session].items() for _ in range(count)]
        styles = ["improvised"] * improvised + ["scripted"] * (len(labels) - improvised)
        for column in (genders, styles):
            rng.shuffle(column)
        lines = [Line(session, *values) for values in zip(labels, genders, styles)]
        number = published["utterances"][session] - len(lines)
        lines += [
            Line(session, raw, rng.choice(list(GENDERS)), rng.choice(list(published["styles"])))
            for raw in others[:number]
        ]
        others = others[number:]
        rng.shuffle(lines)
        dialogs |= share_out(session, lines)
    return dialogs


def share_out(session: int, lines: list[Line]) -> dict[str, list[Line]]:
    """The session's dialogs take turns; a number counts one speaker's utterances in a dialog."""
    dialogs: dict[str, list[Line]] = {name: [] for name in dialog_names(session)}
    for style, part in (("improvised", "impro"), ("scripted", "script")):
        names = [name for name in dialogs if f"_{part}" in name]
        for gender, letter in GENDERS.items():
            chosen = [line for line in lines if (line.style, line.gender) == (style, gender)]
            for index, line in enumerate(chosen):
                turn, place = divmod(index, len(names))
                line.utt_id = f"{names[place]}_{letter}{turn:03d}"
                dialogs[names[place]].append(line)
    return dialogs


def dialog_names(session: int) -> list[str]:
    """28, 30, 32, 30 and 31; F and M are the actor who wears the markers, not who speaks."""
    scripts = ["script01_1", "script01_2", "script01_3", "script02_1", "script02_2", "script03_1", "script03_2"]
    names = []
    for marked in "FM":
        improvisations = [f"impro{number:02d}" for number in range(1, 8 if session == 1 else 9)]
        if (session, marked) == (3, "M"):
            improvisations = [
                name + part for name in improvisations for part in (("a", "b") if name[-2:] in ("05", "08") else ("",))
            ]
        odd = ["script01_1b"] if (session, marked) == (5, "M") else []
        names += [f"Ses0{session}{marked}_{part}" for part in [*improvisations, *scripts, *odd]]
    return names


def finish(dialogs: dict[str, list[Line]], rng: random.Random) -> list[Line]:
    """Words, lengths and votes. The two long utterances are made to be of the four classes."""
    lines = [line for name in dialogs for line in dialogs[name]]
    by_id = {line.utt_id: line for line in lines}
    for utt_id in LONG:
        long = by_id[utt_id]
        other = next(
            line
            for line in lines
            if line.label in SWING
            and line.utt_id not in LONG
            and (line.session, line.gender, line.style) == (long.session, long.gender, long.style)
        )
        long.label, other.label = other.label, long.label
    four = [line for line in lines if line.label in SWING]
    for line in lines:
        sentence = rng.choice(WORDS.get(line.label, WORDS["other"]).split("|"))
        line.text = rng.choice(OPENERS) + sentence if line.style == "improvised" else sentence
        line.seconds = LONG.get(line.utt_id, round(rng.uniform(0.3, 0.8), 4))
        line.votes = votes_for(line.label, rng)
    for line in rng.sample([line for line in four if line.utt_id not in LONG], NUM_EMPTY):
        line.text = rng.choice(NO_WORDS)
    return lines


def votes_for(label: str, rng: random.Random) -> tuple[str, ...]:
    """Three evaluators: two or three for the label, or three that do not agree."""
    if label == "xxx":
        return tuple(rng.sample(["ang", "fru", "sad", "neu", "sur"], 3))
    return label, label, rng.choice([label, "fru", "neu"])


def subset(dialogs: dict[str, list[Line]], per_cell: int) -> dict[str, list[Line]]:
    """The first utterances of each session, speaker, style and label, the long and some wordless ones."""
    kept, wordless = defaultdict(int), 0
    small: dict[str, list[Line]] = {}
    for name, lines in dialogs.items():
        small[name] = []
        for line in lines:
            cell = (line.session, line.gender, line.style, line.label)
            special = line.utt_id in LONG or (line.text in NO_WORDS and wordless < 2)
            wordless += line.text in NO_WORDS
            kept[cell] += 1
            if special or kept[cell] <= per_cell:
                small[name].append(line)
    return {name: lines for name, lines in small.items() if lines}


def sound(line: Line, rng: np.random.Generator) -> np.ndarray:
    """int16: a voice-like tone whose pitch tells the gender and whose swing the class, in noise."""
    time = np.arange(round(line.seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = PITCH[GENDERS[line.gender]] * rng.uniform(0.9, 1.1)
    rate, depth = SWINGS_PER_SECOND.get(line.label, 3.0), SWING.get(line.label, 0.1)
    phase = 2 * np.pi * pitch * (time - depth / (2 * np.pi * rate) * np.cos(2 * np.pi * rate * time))
    wave = sum(np.sin(harmonic * phase) / harmonic for harmonic in (1, 2, 3)) + 0.05 * rng.standard_normal(len(time))
    return (6000 * wave).astype(np.int16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out_dir", type=Path, required=True, help="gets Session1 to Session5 and standin_ids.txt")
    parser.add_argument("--per_cell", type=int, default=0, help="utterances of a speaker, style and label; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.out_dir.exists() and not (args.out_dir / "standin_ids.txt").is_file():
        raise UserError(f"{args.out_dir}: exists and is no stand-in; remove it or choose another --out_dir")
    published = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    rng = random.Random(args.seed)
    dialogs = plan(published, rng)
    finish(dialogs, rng)
    if args.per_cell:
        dialogs = subset(dialogs, args.per_cell)
    shutil.rmtree(args.out_dir, ignore_errors=True)
    noise = np.random.default_rng(args.seed)
    for session in published["four_classes"]:
        own = {name: lines for name, lines in dialogs.items() if name.startswith(f"Ses0{session}")}
        place = args.out_dir / f"Session{session}"
        write_session(place, own, rng)
        for name, lines in own.items():
            for line in lines:
                path = place / "sentences" / "wav" / name / f"{line.utt_id}.wav"
                soundfile.write(path, sound(line, noise), SAMPLE_RATE)
    lines = sorted((line.utt_id, line.label) for part in dialogs.values() for line in part if line.label in SWING)
    (args.out_dir / "standin_ids.txt").write_text("".join(f"{utt_id} {label}\n" for utt_id, label in lines))
    print(
        f"{args.out_dir}: {sum(map(len, dialogs.values()))} utterances in {len(dialogs)} dialogs, "
        f"{len(lines)} of the four classes"
    )


if __name__ == "__main__":
    run(main)
