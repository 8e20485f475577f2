"""A clone of EmoBox (https://github.com/emo-box/EmoBox): the lists of a corpus -> utterances, speakers, folds.

A corpus is data/<corpus>: fold_<k>/<corpus>_{train,valid,test}_fold_<k>.jsonl, an object a line; label_map.json, from
the labels of the lists to classes; data.seg.wrd.stm, which names the speaker of a key. What differs between the corpora
is said where it is read.
"""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.plain_files import parse_json, parse_json_lines, parse_yaml, read_plain
from whisper_er.data.kaldi import make_id

ABOUT = Path(__file__).with_name("corpora.yaml")
CLONE = "clone https://github.com/emo-box/EmoBox anew"
SETS = ("train", "valid", "test")
# The field before the tag is 1, or a number of channels; a name may hold anything.
SPEAKER = re.compile(r"<id=(.*),lang=[^,]*,spk=(.*),emotion=")


@dataclass(frozen=True)
class Utterance:
    """audio: path below the corpus' directory; label: as in the list; span: start and end in seconds, where a recording
    holds several utterances; seconds: length."""

    key: str
    audio: str
    label: str
    span: tuple[float, float] | None
    seconds: float

    @property
    def sound(self) -> tuple[str, tuple[float, float] | None]:
        """What is heard, which PAVOQUE lists under two keys at times."""
        return self.audio, self.span


@dataclass
class Corpus:
    """The lists of a corpus. utterances: by id; speakers: of those that the lists name; folds: k -> set -> ids."""

    name: str
    utterances: dict[str, Utterance]
    labels: dict[str, str]
    speakers: dict[str, str]
    folds: dict[int, dict[str, list[str]]] = field(default_factory=dict)

    def label(self, utt_id: str) -> str:
        """The class: what label_map.json makes of the list's label, as one word in lower case."""
        return self.labels[self.utterances[utt_id].label]


def language_of(corpus: str) -> str:
    """The language code of a corpus; "mixed" where it has several, "" where the table does not know it."""
    return about_all().get(corpus, {}).get("language", "")


def languages_of(corpus: str) -> dict[str, str]:
    """Language -> the speakers who speak it, `first-last`, of a mixed corpus whose speakers tell."""
    return about_all().get(corpus, {}).get("languages", {})


def published_layout(corpus: str) -> dict[str, str]:
    """Start of a path in the lists -> what stands there in the corpus as its authors publish it."""
    return about_all().get(corpus, {}).get("published", {})


def about_all() -> dict[str, dict]:
    return read_plain(parse_yaml, ABOUT, {str: {"language": str}}, "the table of corpora", "restore it")


def read_corpus(emobox: Path, name: str) -> Corpus:
    """Read the lists. UserError: no such corpus, a list that is damaged or contradicts another, an unknown label."""
    directory = find_corpus(emobox, name)
    listed: dict[str, Utterance] = {}  # by key
    folds: dict[int, dict[str, list[str]]] = {}
    for number, fold_dir in fold_dirs(directory).items():
        sets = {set_name: read_fold(fold_dir, name, number, set_name) for set_name in SETS}
        for set_name in ("train", "test"):
            if not sets[set_name]:
                raise UserError(f"{fold_dir}: no list {name}_{set_name}_fold_{number}.jsonl; {CLONE}")
        check_disjoint(fold_dir, sets)
        for utts in sets.values():
            for utt in utts:
                if listed.setdefault(utt.key, utt) != utt:
                    raise UserError(f"{fold_dir}: {utt.key} is another utterance than in an earlier fold; {CLONE}")
        folds[number] = {set_name: [make_id(utt.key) for utt in utts] for set_name, utts in sets.items() if utts}
    if not folds:
        raise UserError(f"{directory}: no directory fold_1; {CLONE}")
    utterances = {make_id(key): utt for key, utt in listed.items()}
    if len(utterances) < len(listed):
        twins = [key for key, utt in listed.items() if utterances[make_id(key)] is not utt]
        raise UserError(f"{directory}: keys that differ in nothing but white space or '/': {first_few(twins)}")
    labels = read_labels(directory, {utt.label for utt in utterances.values()})
    return Corpus(name, utterances, labels, read_speakers(directory), folds)


def corpora(emobox: Path) -> dict[str, Path]:
    """Name -> directory, of data/<name> of the clone, or of <name> where the directory given is data itself."""
    for root in (emobox / "data", emobox):
        if known := {path.name: path for path in sorted(root.glob("*")) if (path / "label_map.json").is_file()}:
            return known
    raise UserError(f"--emobox {emobox}: no data/<corpus>/label_map.json there; it is a clone of EmoBox: {CLONE}")


def find_corpus(emobox: Path, name: str) -> Path:
    """The directory with the lists of a corpus."""
    known = corpora(emobox)
    if name not in known:
        root = next(iter(known.values())).parent
        raise UserError(f"--corpus {name}: {root} has no such corpus; it has {' '.join(known)}")
    return known[name]


def track2_list(directory: Path) -> Path | None:
    """<CORPUS>_selected_balenced.jsonl of the corpus with this directory; None where EmoBox has none."""
    paths = (directory.parent / "track2").glob("*_selected_*.jsonl")
    return {path.name.partition("_selected_")[0].lower(): path for path in paths}.get(directory.name.lower())


def lists_digest(directory: Path) -> str:
    """Of all that is read of a corpus: the same in every version of EmoBox that says the same of it."""
    paths = [directory / name for name in ("label_map.json", "data.seg.wrd.stm")]
    paths += [path] if (path := track2_list(directory)) else []
    paths += [path for fold_dir in fold_dirs(directory).values() for path in sorted(fold_dir.glob("*.jsonl"))]
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content} {os.path.relpath(path, directory)}\n".encode())
    return digest.hexdigest()[:16]


def fold_dirs(directory: Path) -> dict[int, Path]:
    matches = ((re.fullmatch(r"fold_?(\d+)", path.name), path) for path in directory.iterdir() if path.is_dir())
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def read_fold(fold_dir: Path, corpus: str, number: int, set_name: str) -> list[Utterance]:
    """The utterances of a list; none where it is missing. EmoDB's lists are there twice, as fold_1 and as fold1."""
    paths = [fold_dir / f"{corpus}_{set_name}_fold{spelling}{number}.jsonl" for spelling in ("_", "")]
    lists = [read_list(path, corpus) for path in paths if path.is_file()]
    if len(lists) == 2 and {utt.key for utt in lists[0]} != {utt.key for utt in lists[1]}:
        raise UserError(f"{paths[0]} and {paths[1].name} list different utterances; remove the one that is wrong")
    return lists[0] if lists else []


def read_list(path: Path, corpus: str) -> list[Utterance]:
    """A list. Its older form says `audio` and `label` where the other says `wav` and `emo`."""
    objects = read_plain(parse_json_lines, path, [{"key": str}], "a list of EmoBox", CLONE)
    utts = []
    for number, item in enumerate(objects, start=1):
        try:
            audio, label = item.get("wav", item.get("audio")), item.get("emo", item.get("label"))
            seconds = float(item.get("length", item.get("num_frame", 0) / item.get("sample_rate", 1)))
            span = (float(item["start_time"]), float(item["end_time"])) if "start_time" in item else None
            below = audio.removeprefix("downloads/").removeprefix(f"{corpus}/")
            utts.append(Utterance(item["key"], below, str(label), span, seconds))
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
            raise UserError(f"{path}: line {number} lacks a path, a label or a length; {CLONE}") from None
    if len({utt.key for utt in utts}) < len(utts):
        raise UserError(f"{path}: lists a key twice; {CLONE}")
    return utts


def check_disjoint(fold_dir: Path, sets: dict[str, list[Utterance]]) -> None:
    seen: dict[str, str] = {}
    for set_name, utts in sets.items():
        for utt in utts:
            if (other := seen.setdefault(utt.key, set_name)) != set_name:
                raise UserError(f"{fold_dir}: {utt.key} is in {other} and in {set_name}; {CLONE}")


def read_labels(directory: Path, used: set[str]) -> dict[str, str]:
    """Label of the lists -> class, for those that are used; EmoDB's map and lists differ in case (Neutral, neutral)."""
    path = directory / "label_map.json"
    mapping = read_plain(parse_json, path, {str: str}, "a map label -> class", CLONE)
    any_case = {label.casefold(): label for label in mapping}
    known = {label: label if label in mapping else any_case.get(label.casefold()) for label in used}
    if unknown := sorted(label for label, entry in known.items() if entry is None):
        raise UserError(f"{path}: lacks the label {first_few(map(repr, unknown))}; it has {' '.join(sorted(mapping))}")
    return {label: re.sub(r"[\W_]+", "_", mapping[entry]).strip("_").lower() for label, entry in known.items()}


def read_speakers(directory: Path) -> dict[str, str]:
    """Id -> speaker, as far as data.seg.wrd.stm names them; MSP-Podcast has no such file."""
    path = directory / "data.seg.wrd.stm"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    tags = (SPEAKER.search(line) for line in lines)
    return {make_id(tag[1]): "_".join(tag[2].split()) for tag in tags if tag and tag[2].strip()}
