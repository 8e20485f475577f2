"""Several corpora as one: sets that their recipes have prepared (dump directories, 16 kHz mono) -> a data directory.

A YAML file says what differs between the corpora (egs/across_corpora/ser1/conf/corpora.yaml):

    emodb:
      dump: ../../emodb/ser1/dump                # from where the command is run
      lang: de                                   # of utterances whose language no utt2lang says
      emotion: {angry: angry, bored: drop, ...}  # corpus label -> common label, `drop` or `unlabelled`

Ids and speakers get the corpus in front (emodb-03a01Fa). Tables: wav.scp, utt2spk, text, utt2corpus, utt2lang,
utt2<task> of every task that the file maps, and any other utt2<name> that one of the sets has. What a set lacks is
unlabelled. Left out is what speaks of one set alone: utt2fold, utt2set<k>, utt2prev and utt2num_samples; and
utt2speaker, for which utt2spk stands. The file .about says in one line what became of the labels (kaldi.ABOUT).
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.plain_files import misfit, parse_yaml, read_plain
from whisper_er.base.spelling import check_spelling
from whisper_er.corpora.changed_audio import audio_files
from whisper_er.data import kaldi
from whisper_er.data.labels import LANGUAGE
from whisper_er.task import NAME, check_label, check_present

CORPUS = "utt2corpus"
MADE_FROM = (
    ".made_from"  # of a data directory: the directories that it was made from; ser.sh makes it anew if they change
)
OF_ONE_SET = re.compile(r"utt2(fold|set\d+|num_samples|speaker|prev)")
DROP, UNLABELLED = "drop", "unlabelled"
NO_TASKS = ("asr", "spk", "speaker", "corpus", "lang")  # their tables are made here, or hold no labels
SET = re.compile(
    r"(?P<corpus>\w+):(?P<path>\w[\w.-]*(?:/\w[\w.-]*)*)(?:\[(?P<table>\w+)(?P<sign>!?=)(?P<value>[^\[\]]*)\])?"
)
EXAMPLE = "egs/across_corpora/ser1/conf/corpora.yaml is an example"


@dataclass(frozen=True)
class Corpus:
    """dump: as in the file; lang: Whisper's code, or ""; labels: task -> corpus label -> common label, DROP or
    UNLABELLED."""

    name: str
    dump: Path
    lang: str
    labels: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Part:
    """One set. data: its tables under common names; lacks: tasks that the file maps and it has no table of; dropped:
    utterances, by "task label"; mapped: "label -> common label" where they differ; unused: "task label" of the file
    that do not occur."""

    word: str
    directory: Path
    data: kaldi.DataDir
    lacks: list[str]
    dropped: Counter[str]
    mapped: list[str]
    unused: list[str]


def pool_sets(corpora_file: Path, words: Sequence[str], out_dir: Path) -> None:
    """Write out_dir, whole or not at all, and print what became of each set. words: such as emodb:fold1/train, or
    ravdess:all[fold=4], its utterances whose utt2fold says 4; != are those that it says anything else of."""
    corpora = read_corpora(corpora_file)
    parts = [read_part(word, corpora, corpora_file) for word in words]
    if not parts:
        raise UserError("--sets names no set; expected such as 'emodb:fold1/train ravdess:fold4/train'")
    for part in parts:
        if nowhere := [task for task in part.lacks if all(f"utt2{task}" not in one.data for one in parts)]:
            raise UserError(
                f"{corpora_file} maps {nowhere[0]} for {part.word}, but none of the sets has a table utt2{nowhere[0]}: "
                "mend the name, or leave it out there"
            )
    mapped = sorted({f"utt2{task}" for corpus in corpora.values() for task in corpus.labels})
    names = {"text", *mapped}.union(*(part.data for part in parts))
    for part in parts:
        for name in names - part.data.keys():
            part.data[name] = dict.fromkeys(part.data["wav.scp"], "")
    pooled = kaldi.combine([part.data for part in parts], words)
    with kaldi.replace_data_dir(out_dir) as new:
        for name, table in pooled.items():
            kaldi.write_table(new / name, table)
        (new / MADE_FROM).write_text("".join(f"{part.directory}\n" for part in parts), encoding="utf-8")
        (new / kaldi.ABOUT).write_text("; ".join(filter(None, map(labels_of, parts))), encoding="utf-8")
    for part in parts:
        print(f"{part.word}: {report(part)}")
    labels = (f"{name.removeprefix('utt2')}: {counts(Counter(filter(None, pooled[name].values())))}" for name in mapped)
    print(f"{' '.join(words)} -> {out_dir}: {sizes(pooled)}; {'; '.join(labels)}")


def read_corpora(path: Path) -> dict[str, Corpus]:
    """The corpora of the YAML file by name; UserError also for two spellings of one common label, and two of a dump."""
    content = read_plain(parse_yaml, path, {str: {"dump": str}}, "a file of corpora", EXAMPLE)
    corpora = {}
    for name, entry in content.items():
        labels = {key: value for key, value in entry.items() if key not in ("dump", "lang")}
        problem = misfit(entry.get("lang", ""), str, "lang") or misfit(labels, {str: {str: str}})
        if problem or not re.fullmatch(r"\w+", name):
            problem = problem or "its name may hold letters, digits and _"
            raise UserError(f"{path}: {name}: {problem}; no, yes and numbers need quotes; {EXAMPLE}")
        corpora[name] = Corpus(name, Path(entry["dump"]), entry.get("lang", ""), labels)
    name_of: dict[str, str] = {}
    for name, corpus in corpora.items():
        if (other := name_of.setdefault(os.path.realpath(corpus.dump), name)) != name:
            raise UserError(f"{path}: {other} and {name} have the same dump, {corpus.dump}; a corpus has one name")
    for task in dict.fromkeys(task for corpus in corpora.values() for task in corpus.labels):
        check_common_labels(path, task, corpora)
    return corpora


def check_common_labels(path: Path, task: str, corpora: dict[str, Corpus]) -> None:
    if task in NO_TASKS or not NAME.fullmatch(task):
        raise UserError(f"{path}: '{task}' is no task with labels; allowed are dump, lang and names such as emotion")
    used_by: dict[str, str] = {}
    for corpus in corpora.values():
        for label in corpus.labels.get(task, {}).values():
            where = f"{path}: {corpus.name}: {task}"
            if not label:
                raise UserError(f"{where}: a common label is empty; write {UNLABELLED} or {DROP}")
            check_label(label, where)
            check_present(label, where)
            used_by[label] = corpus.name
    check_spelling(f"{path}: {task}", used_by)


def read_part(word: str, corpora: dict[str, Corpus], corpora_file: Path) -> Part:
    """The set that a word names, with common labels, ids and speakers."""
    if not (match := SET.fullmatch(word)):
        raise UserError(f"'{word}' is no set; expected corpus:set, such as emodb:fold1/train or ravdess:all[fold=4]")
    if not (corpus := corpora.get(match["corpus"])):
        raise UserError(f"{word}: {corpora_file} has no corpus '{match['corpus']}'; it has {' '.join(corpora)}")
    directory = corpus.dump / match["path"]
    if not directory.is_dir():
        raise UserError(f"{word}: {directory} is not there; {remedy(corpus.dump)}")
    data = kaldi.read_dir(directory)
    if "segments" in data or any(entry.endswith("|") for entry in data.get("wav.scp", {}).values()):
        raise UserError(
            f"{word}: {directory} has segments or commands, which stage 1 makes files of; name a directory of dump/"
        )
    kaldi.validate(directory, data)
    if match["table"]:
        data = kaldi.subset(data, matching(directory, data, match["table"], match["sign"], match["value"]))
    check_unmapped(corpus, directory, data, corpora, corpora_file)
    left, dropped = common_labels(corpus, directory, data, corpora_file)
    if not left["wav.scp"]:
        raise UserError(f"{word}: nothing is left: dropped {counts(dropped)}; change {corpora_file}")
    lacks = [task for task in corpus.labels if f"utt2{task}" not in data]
    mapped, unused = what_is_mapped(corpus, data)
    data = common_names(corpus, left)
    if without := [utt_id for utt_id, language in data[LANGUAGE].items() if not language]:
        raise UserError(
            f"{word}: {len(without)} utterances have no language: write lang, Whisper's code, for {corpus.name} in "
            f"{corpora_file}, or utt2lang in its recipe: {first_few(without)}"
        )
    return Part(word, directory, data, lacks, dropped, mapped, unused)


def remedy(dump: Path) -> str:
    """What there is of a corpus, and where to make the rest."""
    files = [*dump.glob("*/wav.scp"), *dump.glob("*/*/wav.scp")]
    there = sorted(str(file.parent.relative_to(dump)) for file in files)
    recipe = next((path for path in dump.parents if (path / "run.sh").is_file()), None)
    command = f"{recipe}/run.sh --stop_stage 1 ..." if recipe else "./run.sh --stop_stage 1 ... in the corpus's recipe"
    return f"there is {first_few(there, 8) or 'no set yet'}; run stage 1 first: {command}"


def matching(directory: Path, data: kaldi.DataDir, name: str, sign: str, value: str) -> list[str]:
    """Ids of the utterances whose table utt2<name> has the value ("=") or another one or none ("!=")."""
    if (table := f"utt2{name}") not in data:
        there = " ".join(sorted(other.removeprefix("utt2") for other in data if other.startswith("utt2")))
        raise UserError(f"{directory / table}: no such file; [name=value] can ask for {there}")
    if not (utt_ids := [utt_id for utt_id, other in data[table].items() if (other == value) == (sign == "=")]):
        there = first_few(sorted(set(data[table].values())), 20)
        raise UserError(f"{directory / table}: no utterance has {name}{sign}{value}; its values are {there}")
    return utt_ids


def check_unmapped(
    corpus: Corpus, directory: Path, data: kaldi.DataDir, corpora: dict[str, Corpus], corpora_file: Path
) -> None:
    """UserError for a task that the file maps for other corpora alone, where this one has labels of its own."""
    for task in sorted({task for other in corpora.values() for task in other.labels} - corpus.labels.keys()):
        common = {label for other in corpora.values() for label in other.labels.get(task, {}).values()}
        own = Counter(label for label in data.get(f"utt2{task}", {}).values() if label and label not in common)
        if own:
            raise UserError(
                f"{directory / f'utt2{task}'}: {corpora_file} maps {task} for other corpora, not for {corpus.name}, "
                f"which has labels of its own: {counts(own)}; map them there"
            )


def common_labels(
    corpus: Corpus, directory: Path, data: kaldi.DataDir, corpora_file: Path
) -> tuple[kaldi.DataDir, Counter[str]]:
    """The tables under common labels, without the utterances that are to be dropped, which are counted."""
    data, dropped = dict(data), {}
    for task, common in corpus.labels.items():
        column = data.get(f"utt2{task}", {})
        common = common | {"": UNLABELLED}
        if unknown := Counter(label for label in column.values() if label not in common):
            raise UserError(
                f"{directory / f'utt2{task}'}: {task} has no common label for {counts(unknown)}: {corpora_file} maps "
                f"{' '.join(corpus.labels[task])} of {corpus.name}; add the label there, with a common one, "
                f"{DROP} or {UNLABELLED}"
            )
        chosen = {utt_id: common[label] for utt_id, label in column.items()}
        dropped = {utt_id: f"{task} {column[utt_id]}" for utt_id in chosen if chosen[utt_id] == DROP} | dropped
        if column:
            data[f"utt2{task}"] = {utt_id: "" if label == UNLABELLED else label for utt_id, label in chosen.items()}
    kept = [utt_id for utt_id in data["wav.scp"] if utt_id not in dropped]
    return kaldi.subset(data, kept), Counter(dropped.values())


def what_is_mapped(corpus: Corpus, data: kaldi.DataDir) -> tuple[list[str], list[str]]:
    """Part.mapped and Part.unused of the tables under the corpus' own labels."""
    mapped, unused = [], []
    for task, labels in corpus.labels.items():
        if f"utt2{task}" in data:
            occurs = set(data[f"utt2{task}"].values())
            unused += [f"{task} {label}" for label in labels if label not in occurs]
            kept = {label: common for label, common in labels.items() if label in occurs and common != DROP}
            mapped += [f"{label} -> {common}" for label, common in kept.items() if common != label]
    return mapped, unused


def common_names(corpus: Corpus, data: kaldi.DataDir) -> kaldi.DataDir:
    """The tables with the corpus before ids and speakers, its name and languages, and audio that is found from here."""
    languages = data.get(LANGUAGE, {})
    tables = {name: table for name, table in data.items() if not OF_ONE_SET.fullmatch(name)}
    tables |= {
        "wav.scp": found_from_here(data, corpus.dump),
        "utt2spk": {utt_id: f"{corpus.name}-{speaker}" for utt_id, speaker in data["utt2spk"].items()},
        CORPUS: dict.fromkeys(data["wav.scp"], corpus.name),
        LANGUAGE: {utt_id: languages.get(utt_id) or corpus.lang for utt_id in data["wav.scp"]},
    }
    return {
        name: {f"{corpus.name}-{utt_id}": value for utt_id, value in table.items()} for name, table in tables.items()
    }


def found_from_here(data: kaldi.DataDir, dump: Path) -> kaldi.Table:
    """wav.scp, whose relative entries count from the recipe directory above `dump`, counted from where we are."""
    relative = [file for file in audio_files(data) if not os.path.isabs(file)]
    if not relative:
        return data["wav.scp"]
    above = Path(os.path.abspath(dump)).parents
    if not (recipe := next((path for path in above if (path / relative[0]).is_file()), None)):
        raise UserError(f"{dump}: {relative[0]}, which it names, is in no directory above it; {remedy(dump)}")
    start = recipe if dump.is_absolute() else Path(os.path.relpath(recipe))
    return {utt_id: str(start / entry) for utt_id, entry in data["wav.scp"].items()}  # an absolute entry stays


def report(part: Part) -> str:
    """What became of a set, for a person."""
    tables = {name.removeprefix("utt2"): table for name, table in part.data.items() if name != LANGUAGE}
    without = Counter({name: list(table.values()).count("") for name, table in tables.items()})
    said = [sizes(part.data), f"language {counts(Counter(part.data[LANGUAGE].values()))}"]
    said += [f"dropped {part.dropped.total()}: {counts(part.dropped)}"] if part.dropped else []
    said += [f"mapped, but never there: {', '.join(part.unused)}"] if part.unused else []
    said += [f"unlabelled: {counts(+without)}"] if +without else []
    return "; ".join(said)


def labels_of(part: Part) -> str:
    """What became of its labels, for the protocol; "" where nothing did."""
    said = [f"dropped {counts(part.dropped)}"] if part.dropped else []
    return f"{part.word}: {'; '.join([*said, *part.mapped])}" if said or part.mapped else ""


def sizes(data: kaldi.DataDir) -> str:
    return f"{len(data['wav.scp'])} utterances, {len(set(data['utt2spk'].values()))} speakers"


def counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name or 'not said'} {count}" for name, count in sorted(counter.items()))
