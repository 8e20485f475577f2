"""IEMOCAP_full_release -> a data directory with 5 folds, the sessions.

    python local/prepare_iemocap.py --corpus_dir /path/to/IEMOCAP_full_release --out_dir data/all

published.py compares the copy with published.yaml before anything is written; no audio is opened.
Busso et al.: IEMOCAP: Interactive emotional dyadic motion capture database. LRE 42 (4), 2008.
"""

import argparse
import os
import re
import string
from collections import Counter
from pathlib import Path

from published import differences, disagreements
from release import FOUR, NO_MAJORITY, Rated, Release, read_release

from whisper_er.base.errors import UserError
from whisper_er.bin import run
from whisper_er.corpora.published_corpus import user_path
from whisper_er.data.kaldi import DataDir, write_dir
from whisper_er.data.votes import written

LABEL_SETS = {  # raw code -> label
    "four": FOUR,  # 5531 utterances, the paper's
    "four_no_exc": {raw: label for raw, label in FOUR.items() if raw != "exc"},  # 4490
    "five": FOUR | {"fru": "frustrated"},  # 7380
    "six": FOUR | {"exc": "excited", "fru": "frustrated"},  # 7380
}
TAG = re.compile(r"\[[^\]]*\]")  # [LAUGHTER] [BREATHING] [GARBAGE] [LIPSMACK]
# An apostrophe belongs to its word, brackets to their tag.
MARK = "[" + re.escape("".join(sorted(set(string.punctuation) - set("'[]")))) + "]"
PUNCTUATION = re.compile(MARK)
MARKS = re.compile(rf"(?!(?<=\w){MARK}\w){MARK}+")  # a run of them; one inside a word, as in 10:30, stays


def prepare(args: argparse.Namespace) -> None:
    """Write args.out_dir, whole or not at all. UserError: no release there, or not the published one."""
    release = read_release(find_root(args.corpus_dir))
    problems = disagreements(release) + differences(release, args.id_list, args.out_dir)
    if problems and args.check_counts == "true":
        raise UserError(
            f"{args.corpus_dir}: {'; '.join(problems)}; get a whole copy, or take what is there with "
            "--local_data_opts '--check_counts false'"
        )
    for problem in problems:
        print(f"{args.corpus_dir}: {problem}")
    labels = LABEL_SETS[args.label_set]
    chosen = [
        one
        for one in release.rated.values()
        if (one.label in labels or (args.keep_no_majority == "true" and is_split(one, labels)))
        and args.style in ("all", one.style)
        and one.utt_id in release.texts
        and one.utt_id in release.wavs
    ]
    if not chosen:
        raise UserError(f"{args.corpus_dir}: no utterance of --label_set {args.label_set} --style {args.style} is left")
    data = data_dir(chosen, release, labels, args)
    write_dir(args.out_dir, data)
    counted = Counter(label or "without a majority" for label in data["utt2emotion"].values())
    counts = ", ".join(f"{label} {count}" for label, count in sorted(counted.items()))
    print(
        f"{args.corpus_dir} -> {args.out_dir}: {len(chosen)} utterances ({counts}), "
        f"{len(set(data['utt2spk'].values()))} speakers; "
        f"{sum(not text for text in data['text'].values())} transcripts are empty"
    )


def find_root(corpus_dir: Path | None) -> Path:
    """The directory with Session1: the one given, or IEMOCAP_full_release in it."""
    if corpus_dir is None:
        raise UserError(
            "--corpus_dir is missing (run.sh --iemocap): the directory IEMOCAP_full_release; the corpus is "
            "to be requested at https://sail.usc.edu/iemocap"
        )
    root = Path(os.path.abspath(corpus_dir))
    return next((place for place in (root, root / "IEMOCAP_full_release") if (place / "Session1").is_dir()), root)


def data_dir(chosen: list[Rated], release: Release, labels: dict[str, str], args: argparse.Namespace) -> DataDir:
    previous = turns_before(chosen)

    def table(value) -> dict[str, str]:
        return {one.utt_id: value(one) for one in chosen}

    return {
        "wav.scp": table(lambda one: str(release.wavs[one.utt_id])),
        "text": table(lambda one: clean(release.texts[one.utt_id], args.tags, args.case, args.punctuation)),
        "utt2spk": table(lambda one: one.speaker),
        "utt2gender": table(lambda one: one.gender),
        "utt2emotion": table(lambda one: labels.get(one.label, "")),
        "utt2emotion_votes": table(lambda one: written(votes_of(one, labels))),
        "utt2valence": table(lambda one: one.valence),
        "utt2arousal": table(lambda one: one.arousal),
        "utt2dominance": table(lambda one: one.dominance),
        "utt2fold": table(lambda one: one.session),
        "utt2style": table(lambda one: one.style),
        "utt2prev": table(lambda one: previous[one.utt_id]),
    }


def turns_before(chosen: list[Rated]) -> dict[str, str]:
    """Utterance -> of those chosen of its dialog, of both speakers, the last that starts before it; "" for the first.

    A turn that is not chosen has no audio in the data directory, so that decoding could not say what it was.
    """
    in_order = sorted(chosen, key=lambda one: (one.dialog, one.start, one.utt_id))
    pairs = zip([None, *in_order], in_order)
    return {one.utt_id: last.utt_id if last and last.dialog == one.dialog else "" for last, one in pairs}


def is_split(one: Rated, labels: dict[str, str]) -> bool:
    """Whether the evaluators agreed on no emotion, and some of them chose one of these."""
    return one.label == NO_MAJORITY and any(raw in labels for raw in one.votes)


def votes_of(one: Rated, labels: dict[str, str]) -> Counter[str]:
    """By label; those for another emotion by its raw code, which training leaves out and counts."""
    votes = Counter[str]()
    for raw, count in one.votes.items():
        votes[labels.get(raw, raw)] += count
    return votes


def clean(text: str, tags: str, case: str, punctuation: str) -> str:
    """A transcript with single spaces; empty where no word is left once the tags are gone."""
    if tags == "drop":
        text = TAG.sub(" ", text)
    if not any(character.isalnum() for character in text):
        return ""
    if punctuation == "drop":
        text = PUNCTUATION.sub(" ", text)
    elif punctuation == "split":
        text = MARKS.sub(r" \g<0> ", text)
    return " ".join((text.lower() if case == "lower" else text).split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus_dir", type=user_path, help="IEMOCAP_full_release (required)")
    parser.add_argument("--out_dir", type=Path, default=Path("data/all"), help="data directory to write (%(default)s)")
    parser.add_argument(
        "--label_set",
        choices=LABEL_SETS,
        default="four",
        help="four: exc is happy; four_no_exc: without exc; five: and fru; six: exc, fru apart",
    )
    parser.add_argument(
        "--keep_no_majority",
        choices=("true", "false"),
        default="false",
        help="utterances on which the evaluators did not agree, for loss.soft_labels: votes and no label (%(default)s)",
    )
    parser.add_argument("--style", choices=("all", "improvised", "scripted"), default="all")
    parser.add_argument("--tags", choices=("drop", "keep"), default="drop", help="[LAUGHTER] and others (%(default)s)")
    parser.add_argument("--case", choices=("keep", "lower"), default="keep", help="of transcripts (%(default)s)")
    parser.add_argument(
        "--punctuation",
        choices=("keep", "drop", "split"),
        default="keep",
        help="of transcripts; split: marks as words of their own, `Really good .` (%(default)s)",
    )
    parser.add_argument(
        "--id_list",
        type=user_path,
        help="compare ids and labels with this list: lines `id label` (raw codes), or EmoBox's iemocap.jsonl",
    )
    parser.add_argument(
        "--check_counts",
        choices=("true", "false"),
        default="true",
        help="stop where the copy is not the published corpus (%(default)s)",
    )
    prepare(parser.parse_args())


if __name__ == "__main__":
    run(main)
