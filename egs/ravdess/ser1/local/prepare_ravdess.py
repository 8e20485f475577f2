"""RAVDESS speech as published (Actor_01/03-01-01-01-01-01-01.wav) -> a data directory with 6 speaker-disjoint folds.

    python local/prepare_ravdess.py --corpus_dir downloads/ravdess --out_dir data/all

The name of a file says everything: modality (03 audio only), channel (01 speech, 02 song), emotion, intensity,
statement, repetition, actor. Sung files are left out and counted; the audio itself is not opened.
Livingstone, Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song. PLoS ONE 13(5), 2018.
"""

import argparse
import re
from itertools import product
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.bin import run
from whisper_er.corpora.published_corpus import check_published, find_audio, user_path
from whisper_er.data.kaldi import DataDir, write_dir

SOURCE = "Audio_Speech_Actors_01-24.zip of https://zenodo.org/records/1188976"
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
REPETITIONS = ("01", "02")
ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
ACTORS_PER_FOLD = 4
SPEECH = re.compile(
    rf"03-01-({'|'.join(EMOTIONS)})-({'|'.join(INTENSITIES)})-({'|'.join(STATEMENTS)})"
    rf"-({'|'.join(REPETITIONS)})-({'|'.join(ACTORS)})"
)
SONG = re.compile(r"\d\d-02(-\d\d){5}")


def prepare(corpus_dir: Path | None, out_dir: Path, check_counts: bool) -> None:
    """Write out_dir, whole or not at all. UserError: no corpus there, or not the published one."""
    actor_dirs = find_actor_dirs(corpus_dir)
    where = actor_dirs[0].parent
    files = find_audio(actor_dirs)
    names = {utt_id: match for utt_id in files if (match := SPEECH.fullmatch(utt_id))}
    if songs := [utt_id for utt_id in files if SONG.fullmatch(utt_id)]:
        print(f"{where}: ignored {len(songs)} song files (channel 02): {first_few(sorted(songs))}")
    if others := [files[utt_id].name for utt_id in files if utt_id not in names and not SONG.fullmatch(utt_id)]:
        print(
            f"{where}: ignored {len(others)} audio files that are not named like 03-01-01-01-01-01-01: "
            f"{first_few(sorted(others))}"
        )
    if not names:
        raise UserError(
            f"{where}: no speech file named like Actor_01/03-01-01-01-01-01-01.wav or .flac; RAVDESS is {SOURCE}"
        )
    if check_counts:
        check_published(set(names), published_ids(), where, SOURCE)
    data = data_dir(names, files)
    write_dir(out_dir, data)
    print(
        f"{where} -> {out_dir}: {len(names)} utterances, {len(set(data['utt2spk'].values()))} speakers, "
        f"{len(set(data['utt2fold'].values()))} folds"
    )


def find_actor_dirs(corpus_dir: Path | None) -> list[Path]:
    """The Actor_* directories in corpus_dir, or in the one directory that the archive may unpack to."""
    if corpus_dir is None:
        raise UserError(
            f"--corpus_dir is missing: the directory of RAVDESS that holds Actor_01 ... Actor_24; RAVDESS is {SOURCE}"
        )
    for parent in (corpus_dir, corpus_dir / "Audio_Speech_Actors_01-24"):
        if actor_dirs := sorted(path for path in parent.glob("Actor_[0-9][0-9]") if path.is_dir()):
            return actor_dirs
    raise UserError(
        f"--corpus_dir {corpus_dir}: no directories Actor_01 ... Actor_24 there, nor in "
        f"Audio_Speech_Actors_01-24/ below; RAVDESS is {SOURCE}"
    )


def published_ids() -> set[str]:
    """The 1440 utterances: every combination, but neutral in normal intensity only."""
    return {
        "-".join(("03", "01", *parts))
        for parts in product(EMOTIONS, INTENSITIES, STATEMENTS, REPETITIONS, ACTORS)
        if parts[:2] != ("01", "02")
    }


def data_dir(names: dict[str, re.Match[str]], files: dict[str, Path]) -> DataDir:
    """names: utterance id -> (emotion, intensity, statement, repetition, actor) as matched by SPEECH."""
    return {
        "wav.scp": {utt_id: str(files[utt_id]) for utt_id in names},
        "text": {utt_id: STATEMENTS[name[3]] for utt_id, name in names.items()},
        "utt2spk": {utt_id: f"Actor_{name[5]}" for utt_id, name in names.items()},
        "utt2gender": {utt_id: "male" if int(name[5]) % 2 else "female" for utt_id, name in names.items()},
        "utt2emotion": {utt_id: EMOTIONS[name[1]] for utt_id, name in names.items()},
        "utt2intensity": {utt_id: INTENSITIES[name[2]] for utt_id, name in names.items()},
        "utt2fold": {utt_id: str((int(name[5]) - 1) // ACTORS_PER_FOLD + 1) for utt_id, name in names.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--corpus_dir", type=user_path, help=f"directory that holds Actor_01 ... (required); from {SOURCE}"
    )
    parser.add_argument("--out_dir", type=Path, default=Path("data/all"), help="data directory to write (%(default)s)")
    parser.add_argument(
        "--check_counts",
        choices=("true", "false"),
        default="true",
        help="stop unless exactly the 1440 published utterances are there (%(default)s)",
    )
    args = parser.parse_args()
    prepare(args.corpus_dir, args.out_dir, args.check_counts == "true")


if __name__ == "__main__":
    run(main)
