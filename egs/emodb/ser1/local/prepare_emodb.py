"""EmoDB as published (wav/03a01Fa.wav) -> a data directory with 5 speaker-disjoint folds.

    python local/prepare_emodb.py --corpus_dir downloads/emodb --out_dir data/all

The name of a file says everything: speaker (2 digits), sentence (3 characters), emotion (first letter of the German
word) and version. utterances.txt beside this file lists the 535 published ones; the audio itself is not opened.
Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss: A Database of German Emotional Speech. Interspeech 2005.
"""

import argparse
import re
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.bin import run
from whisper_er.corpora.published_corpus import check_published, find_audio, user_path
from whisper_er.data.kaldi import DataDir, write_dir

SOURCE = "http://emodb.bilderbar.info/download/download.zip"
EMOTIONS = {
    "W": "angry",  # Wut
    "L": "bored",  # Langeweile
    "E": "disgusted",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    # The corpus's own table of texts has "Stück" for "Blatt"; the recordings have no fricative there: it is "Blatt".
    "a05": "Das schwarze Blatt Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
# (man, woman) of folds 1 to 5. Pairs in the order of their numbers would leave fold 1 (03, 08) one disgusted
# utterance; so paired every fold has at least 5 of every emotion, and 92 to 124 utterances.
FOLDS = (("03", "09"), ("10", "13"), ("11", "14"), ("12", "16"), ("15", "08"))
GENDERS = {speaker: gender for pair in FOLDS for speaker, gender in zip(pair, ("male", "female"))}
FOLD_OF = {speaker: str(fold) for fold, pair in enumerate(FOLDS, start=1) for speaker in pair}
NAME = re.compile(rf"({'|'.join(GENDERS)})({'|'.join(SENTENCES)})([{''.join(EMOTIONS)}])[a-z]")


def prepare(corpus_dir: Path | None, out_dir: Path, check_counts: bool) -> None:
    """Write out_dir, whole or not at all. UserError: no corpus there, or not the published one."""
    wav_dir = find_wav_dir(corpus_dir)
    files = find_audio([wav_dir])
    names = {utt_id: match for utt_id in files if (match := NAME.fullmatch(utt_id))}
    if others := [files[utt_id].name for utt_id in files if utt_id not in names]:
        print(f"{wav_dir}: ignored {len(others)} audio files not named like 03a01Fa: {first_few(sorted(others))}")
    if not names:
        raise UserError(f"{wav_dir}: no utterance named like 03a01Fa.wav or .flac; EmoDB is at {SOURCE}")
    if check_counts:
        published = Path(__file__).with_name("utterances.txt").read_text(encoding="utf-8").split()
        check_published(set(names), set(published), wav_dir, SOURCE)
    data = data_dir(names, files)
    write_dir(out_dir, data)
    print(
        f"{wav_dir} -> {out_dir}: {len(names)} utterances, {len(set(data['utt2spk'].values()))} speakers, "
        f"{len(set(data['utt2fold'].values()))} folds"
    )


def find_wav_dir(corpus_dir: Path | None) -> Path:
    if corpus_dir is None:
        raise UserError(
            "--corpus_dir is missing: the directory of EmoDB that holds wav/03a01Fa.wav and so on; "
            f"EmoDB is at {SOURCE}"
        )
    if not (corpus_dir / "wav").is_dir():
        raise UserError(
            f"--corpus_dir {corpus_dir}: no directory wav/ there (with 03a01Fa.wav and so on); EmoDB is at {SOURCE}"
        )
    return corpus_dir / "wav"


def data_dir(names: dict[str, re.Match[str]], files: dict[str, Path]) -> DataDir:
    """names: utterance id -> (speaker, sentence, emotion letter) as matched by NAME."""
    return {
        "wav.scp": {utt_id: str(files[utt_id]) for utt_id in names},
        "text": {utt_id: SENTENCES[name[2]] for utt_id, name in names.items()},
        "utt2spk": {utt_id: name[1] for utt_id, name in names.items()},
        "utt2gender": {utt_id: GENDERS[name[1]] for utt_id, name in names.items()},
        "utt2emotion": {utt_id: EMOTIONS[name[3]] for utt_id, name in names.items()},
        "utt2fold": {utt_id: FOLD_OF[name[1]] for utt_id, name in names.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus_dir", type=user_path, help=f"directory that holds wav/ (required); from {SOURCE}")
    parser.add_argument("--out_dir", type=Path, default=Path("data/all"), help="data directory to write (%(default)s)")
    parser.add_argument(
        "--check_counts",
        choices=("true", "false"),
        default="true",
        help="stop unless exactly the 535 published utterances are there (%(default)s)",
    )
    args = parser.parse_args()
    prepare(args.corpus_dir, args.out_dir, args.check_counts == "true")


if __name__ == "__main__":
    run(main)
