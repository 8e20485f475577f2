"""A corpus by the lists of EmoBox -> a data directory, with a table utt2set<k> for each of its folds.

    python local/prepare_emobox.py --emobox EmoBox --downloads downloads --corpus ravdess --out_dir data/ravdess/all

What EmoBox leaves open is decided here, and printed: a fold without a validation list gets one of about a tenth of its
training list: whole speakers, if they say all of its classes and leave all to training, else utterances of each class.
"""

import argparse
import random
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

from emobox import (
    Corpus,
    Utterance,
    find_corpus,
    languages_of,
    lists_digest,
    published_layout,
    read_corpus,
)
from track2 import match, read_track2

from whisper_er.base.errors import UserError, first_few
from whisper_er.bin import run
from whisper_er.data.kaldi import DataDir, Table, make_id, read_table, write_dir

CONTAINERS = {".avi", ".flv", ".m4a", ".mkv", ".mov", ".mp4", ".webm"}  # libsndfile reads none of them
CONVERTED = (".wav", ".flac")  # another ending that a file may have on disk
VALID_SHARE = 0.1
TRIES = 100  # draws of speakers until they say all classes


def prepare(args: argparse.Namespace) -> None:
    """Write out_dir, whole or not at all."""
    corpus = read_corpus(args.emobox, args.corpus)
    if args.lists_digest not in ("", lists_digest(find_corpus(args.emobox, args.corpus))):
        raise UserError(f"{args.emobox}: the lists of {args.corpus} have changed since run.sh read them; run it again")
    root, prefixes = args.downloads / corpus.name, {}
    if args.layout == "published":
        root, prefixes = args.downloads, published_layout(corpus.name)
    found = find_files(corpus, root, prefixes)
    missing = sorted(corpus.utterances.keys() - found.keys())
    if missing:
        files = [str(root / on_disk(corpus.utterances[utt_id].audio, prefixes)) for utt_id in missing]
        report = f"{len(missing)} of {len(corpus.utterances)} utterances have no audio: {first_few(files)}"
        if not found or args.allow_missing == "false":
            raise UserError(
                f"{root}: {report}; unpack the corpus as EmoBox lists it (--layout published: as its authors publish "
                "it), or go on without them by --allow_missing true"
            )
        print(f"{root}: {report}; left out")
    data = data_dir(corpus, found)
    if args.formatted:
        data.pop("segments", None)
        data["wav.scp"] = read_table(args.formatted)
    if by_speaker := languages_of(corpus.name):
        data["utt2lang"] = {utt_id: language(speaker, by_speaker) for utt_id, speaker in data["utt2spk"].items()}
    if args.transcripts:
        data["text"] = transcripts(args.transcripts, corpus, found)
    if args.transcripts_by:
        data["utt2text_source"] = dict.fromkeys(data["utt2spk"], source(args))
    for number, sets in corpus.folds.items():
        data[f"utt2set{number}"] = fold(corpus, number, sets, data)
    if entries := read_track2(args.emobox, corpus):
        test = match(corpus, entries)
        data["utt2track2"] = {utt_id: "test" if utt_id in test else "" for utt_id in found}
        if lost := len(test - found.keys()):
            print(f"{corpus.name} track2: {lost} of them have no audio")
    write_dir(args.out_dir, data)
    speakers = len(set(data["utt2spk"].values()))
    labels = ", ".join(f"{label} {count}" for label, count in sorted(Counter(data["utt2emotion"].values()).items()))
    print(
        f"{root} -> {args.out_dir}: {len(found)} utterances, {speakers} speakers, {len(corpus.folds)} folds; {labels}"
    )


def find_files(corpus: Corpus, root: Path, prefixes: dict[str, str]) -> dict[str, Path]:
    """Id -> file on disk, also under another ending; of a container, the converted file beside it comes first."""
    paths: dict[str, Path | None] = {}  # of a recording with many utterances, looked for once
    for utt in corpus.utterances.values():
        if utt.audio not in paths:
            listed = root / on_disk(utt.audio, prefixes)
            others = [listed.with_suffix(suffix) for suffix in CONVERTED if suffix != listed.suffix]
            candidates = [*others, listed] if listed.suffix.lower() in CONTAINERS else [listed, *others]
            paths[utt.audio] = next((path.absolute() for path in candidates if path.is_file()), None)
    return {utt_id: paths[utt.audio] for utt_id, utt in corpus.utterances.items() if paths[utt.audio]}


def on_disk(audio: str, prefixes: dict[str, str]) -> str:
    for listed, real in prefixes.items():
        if audio.startswith(listed):
            return real + audio.removeprefix(listed)
    return audio


def data_dir(corpus: Corpus, found: dict[str, Path]) -> DataDir:
    """The tables without text and sets. A recording that holds several utterances has a line in wav.scp, they in
    segments."""
    utts = {utt_id: corpus.utterances[utt_id] for utt_id in found}
    unknown = [utt_id for utt_id in utts if utt_id not in corpus.speakers]
    if unknown:
        print(f"{corpus.name}: EmoBox names no speaker of {len(unknown)} utterances; each counts as one of its own")
    data: DataDir = {
        "wav.scp": {utt_id: entry(path) for utt_id, path in found.items()},
        "utt2spk": {utt_id: corpus.speakers.get(utt_id, utt_id) for utt_id in utts},
        "utt2emotion": {utt_id: corpus.label(utt_id) for utt_id in utts},
    }
    if any(utt.span for utt in utts.values()):
        recording = {utt_id: make_id(utt.audio) for utt_id, utt in utts.items()}
        if len(set(recording.values())) < len({utt.audio for utt in utts.values()}):
            raise UserError(f"{corpus.name}: two recordings differ in nothing but white space or '/'; rename one")
        data["segments"] = {utt_id: f"{recording[utt_id]} {span(utt)}" for utt_id, utt in utts.items()}
        data["wav.scp"] = {recording[utt_id]: line for utt_id, line in data["wav.scp"].items()}
    return data


def span(utt: Utterance) -> str:
    start, end = utt.span or (0, utt.seconds)
    return f"{start:.3f} {end:.3f}"


def entry(path: Path) -> str:
    """The entry of wav.scp: the file, or a command that takes the sound out of a film."""
    if path.suffix.lower() not in CONTAINERS:
        if path.name.endswith("|"):
            raise UserError(f"{path}: wav.scp would take the name for a command; rename the file")
        return str(path)
    if not shutil.which("ffmpeg"):
        raise UserError(
            f"{path}: {path.suffix[1:]} is read by ffmpeg, which is not there; install it, or write each file's sound "
            f"beside it as .wav (16 kHz, mono), such as {path.with_suffix('.wav').name}"
        )
    return f"ffmpeg -nostdin -loglevel error -i {shlex.quote(str(path))} -vn -ac 1 -ar 16000 -f wav - |"


def language(speaker: str, by_speaker: dict[str, str]) -> str:
    """by_speaker: language -> `first-last`, names of speakers of one length, which are compared as text."""
    for code, speakers in by_speaker.items():
        first, _, last = speakers.partition("-")
        if len(first) == len(speaker) and first <= speaker <= last:
            return code
    raise UserError(
        f"local/corpora.yaml: languages: the speaker '{speaker}' has none; it has "
        f"{', '.join(f'{code} {speakers}' for code, speakers in by_speaker.items())}: add the speaker"
    )


def transcripts(path: Path, corpus: Corpus, found: dict[str, Path]) -> Table:
    """`text` from a table `key words...` with EmoBox's keys."""
    table = {make_id(key): text for key, text in read_table(path).items()}
    if unknown := sorted(table.keys() - corpus.utterances.keys()):
        raise UserError(f"{path}: {len(unknown)} keys that {corpus.name} lacks: {first_few(unknown)}; remove them")
    if without := sorted(found.keys() - table.keys()):
        raise UserError(
            f"{path}: no line for {len(without)} utterances: {first_few(without)}; a key alone on its line has no "
            "transcript"
        )
    return {utt_id: table[utt_id] for utt_id in found}


def source(args: argparse.Namespace) -> str:
    """The value of utt2text_source. UserError where it is no name, or nothing to be named."""
    if not args.transcripts or not re.fullmatch(r"\S+", args.transcripts_by):
        raise UserError(
            f"--transcripts_by '{args.transcripts_by}': one word, such as whisper-base_zero-shot, beside --transcripts"
        )
    return args.transcripts_by


def fold(corpus: Corpus, number: int, sets: dict[str, list[str]], data: DataDir) -> Table:
    """The set of each utterance in a fold, "" for none; without a validation list, one is drawn."""
    utt2spk, title = data["utt2spk"], f"{corpus.name} fold {number}"
    sets = {name: [utt_id for utt_id in utt_ids if utt_id in utt2spk] for name, utt_ids in sets.items()}
    drawn = ""
    if "valid" not in sets:
        heard = Counter(utt.sound for utt in corpus.utterances.values())
        once = [utt_id for utt_id in sets["train"] if heard[corpus.utterances[utt_id].sound] == 1]
        sets["valid"], how = draw(once, utt2spk, data["utt2emotion"], title)
        drawn = f" (drawn from train: {how})"
    chosen = dict.fromkeys(utt2spk, "")
    for name in ("train", "test", "valid"):  # what was drawn leaves the training set
        chosen |= dict.fromkeys(sets[name], name)
    members = {name: [utt_id for utt_id, is_in in chosen.items() if is_in == name] for name in sets}
    if empty := [name for name, utt_ids in members.items() if not utt_ids]:
        raise UserError(f"{title}: nothing of {empty[0]} has audio; find it, or run other folds")
    speakers, sounds = (
        {name: {what(utt_id) for utt_id in utt_ids} for name, utt_ids in members.items()}
        for what in (utt2spk.get, lambda utt_id: corpus.utterances[utt_id].sound)
    )
    shared, twice = (len(found["train"] & found["test"]) for found in (speakers, sounds))
    print(
        f"{title}: train {len(members['train'])}, valid {len(members['valid'])}{drawn}, test {len(members['test'])}; "
        f"{shared} of {len(speakers['test'])} test speakers are in training"
        + (f"; EmoBox has {twice} recordings in both, under two keys" if twice else "")
    )
    return chosen


def draw(train: list[str], utt2spk: Table, labels: Table, seed: str) -> tuple[list[str], str]:
    """Ids that validate, and how they were drawn: the same ones in every run."""
    shuffled, wanted = random.Random(seed), max(1, round(VALID_SHARE * len(train)))
    classes, speakers = {labels[utt_id] for utt_id in train}, sorted({utt2spk[utt_id] for utt_id in train})
    for _ in range(TRIES if len(speakers) < len(train) else 0):
        shuffled.shuffle(speakers)
        taken: set[str] = set()
        for speaker in speakers:
            valid = [utt_id for utt_id in train if utt2spk[utt_id] in taken]
            if len(valid) >= wanted:
                break
            taken.add(speaker)
        rest = set(train) - set(valid)
        whole = all({labels[utt_id] for utt_id in ids} == classes for ids in (valid, rest))
        if whole and wanted <= len(valid) <= 2 * wanted:
            return valid, f"{len(taken)} whole speakers"
    by_class: dict[str, list[str]] = {}
    for utt_id in sorted(train):
        by_class.setdefault(labels[utt_id], []).append(utt_id)
    sizes = {label: min(max(1, round(VALID_SHARE * len(ids))), len(ids) - 1) for label, ids in by_class.items()}
    valid = [utt_id for label, ids in by_class.items() for utt_id in shuffled.sample(ids, sizes[label])]
    return valid, "a tenth of each class, of speakers in training"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emobox", type=Path, required=True, help="clone of https://github.com/emo-box/EmoBox")
    parser.add_argument("--downloads", type=Path, required=True, help="holds <corpus>/..., as in the lists")
    parser.add_argument("--corpus", required=True, help="name of a directory of EmoBox's data/")
    parser.add_argument("--out_dir", type=Path, required=True, help="data directory to write")
    parser.add_argument(
        "--layout",
        choices=("emobox", "published"),
        default="emobox",
        help="emobox: downloads/<corpus>/... as in the lists; published: --downloads is the corpus as published",
    )
    parser.add_argument("--transcripts", type=Path, help="table `key words...`, the ASR targets")
    parser.add_argument("--transcripts_by", default="", help="<who>_<how> wrote them, if no human did")
    parser.add_argument("--formatted", type=Path, help="wav.scp of the same data in dump, whose audio is taken")
    parser.add_argument(
        "--allow_missing", choices=("true", "false"), default="false", help="leave out what has no audio (%(default)s)"
    )
    parser.add_argument("--lists_digest", default="", help="of describe.py: lists with another one are refused")
    prepare(parser.parse_args())


if __name__ == "__main__":
    run(main)
