"""Training, validation and test sets: from utt2fold, from published lists (utt2set<k>) or ready-made, with no utterance
and no speaker in two of them. assign_folds makes utt2fold for a corpus that brings no folds of its own."""

import math
import os
import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.spelling import check_spelling
from whisper_er.data import kaldi
from whisper_er.data.labels import print_doubts

SETS = ("train", "valid", "test")
PUBLISHED = re.compile(r"utt2set([1-9]\d*)")  # of a fold k that is given by lists: the set of each utterance, or none
RANDOM_TWO = "2 are enough where run.sh gets --valid_split random:<share>"


def assign_folds(data: kaldi.DataDir, num_folds: int, fold_by: str = "speaker") -> kaldi.Table:
    """utt2fold: folds 1 to num_folds, alike in size and in how often each label of each table utt2* occurs.

    fold_by: "speaker": a speaker is in one fold; "utterance": speakers are spread over all folds.
    Greedy: the largest speaker first, each into the fold that has the fewest utterances like his.
    """
    if num_folds < 2:
        raise UserError(
            f"--num_folds {num_folds}: at least 3: one to test, one to validate, one to train; {RANDOM_TWO}"
        )
    units: dict[str, list[str]] = {}
    for utt_id in kaldi.utterances(data):
        units.setdefault(data["utt2spk"][utt_id] if fold_by == "speaker" else utt_id, []).append(utt_id)
    if len(units) < num_folds:
        raise UserError(
            f"--num_folds {num_folds}: there are only {len(units)} {fold_by}s, and each is in one fold; "
            f"{ways_out(len(units), fold_by)}"
        )
    tables = [table for name, table in data.items() if name.startswith("utt2")]
    counts: list[Counter] = [Counter() for _ in range(num_folds)]  # utterances and labels of each fold
    utt2fold = {}
    for utt_ids in sorted(units.values(), key=len, reverse=True):
        unit = Counter([-1] * len(utt_ids))
        for number, table in enumerate(tables):
            unit.update((number, table[utt_id]) for utt_id in utt_ids)
        fold = min(range(num_folds), key=lambda k: sum(counts[k][key] * count for key, count in unit.items()))
        counts[fold].update(unit)
        utt2fold |= dict.fromkeys(utt_ids, str(fold + 1))
    return utt2fold


def ways_out(units: int, fold_by: str) -> str:
    """What to do where there are fewer speakers or utterances than folds."""
    if units >= 3:
        ways = [f"ask for at most {units} folds"]
    else:  # then fewer folds alone are no way out
        ways = ["ask for 2 folds and give run.sh --valid_split random:0.1"] if units == 2 else []
    if fold_by == "speaker":
        ways.append("take --fold_by utterance and give run.sh --allow_shared_speakers true: a speaker is in all folds")
    least = "" if units >= 3 else f"training, validation and test need a {fold_by} each, so 3 are the least; "
    return least + (", or ".join(ways) or "add utterances")


def make_folds(
    data_dir: Path,
    out_dir: Path,
    folds: Sequence[str],
    allow_shared_speakers: bool = False,
    valid_split: str = "session",
) -> None:
    """Write out_dir/fold<k>/{train,valid,test} for each k of `folds`, after all of them have been checked.

    A table utt2set<k> says the set of each utterance, or nothing for one that fold k leaves out. Without such tables
    test is fold k of the n folds that utt2fold numbers 1..n. valid_split says what validates then: "session", the fold
    after it (1 after n), or "random:<share>", that share of all other folds' utterances, whose speakers are then in
    train as well. Train is the rest.
    """
    share = _random_share(valid_split)
    data = kaldi.read_dir(data_dir)
    published = {match[1]: data.pop(name) for name in list(data) if (match := PUBLISHED.fullmatch(name))}
    kaldi.validate(data_dir, data, [] if published else ["fold"])
    least = 3 if share is None else 2
    count = 0 if published else _count_folds(data_dir / "utt2fold", data["utt2fold"], least)
    allowed = sorted(published, key=int) or [str(k) for k in range(1, count + 1)]
    unknown = [k for k in folds if k not in allowed]
    if unknown or not folds:
        source = "utt2set<k>" if published else "utt2fold"
        raise UserError(f"--folds {' '.join(folds)!r}: allowed are {' '.join(allowed)}, by {data_dir}/{source}")
    sets: dict[Path, kaldi.DataDir] = {}
    for k in folds:
        if published:
            members = _listed(data_dir / f"utt2set{k}", published[k])
        else:
            members = _members(data["utt2fold"], k, count, share)
        fold_sets = {out_dir / f"fold{k}" / name: kaldi.subset(data, utt_ids) for name, utt_ids in members.items()}
        for a, b in combinations(fold_sets, 2):
            drawn = share is not None and not published and {a.name, b.name} == {"train", "valid"}
            _check_disjoint(a, fold_sets[a], b, fold_sets[b], allow_shared_speakers or drawn)
        sets |= fold_sets
    for path, part in sets.items():
        kaldi.write_dir(path, part)
        print(f"{data_dir} -> {path}: {len(part['utt2spk'])} utterances, {len(set(part['utt2spk'].values()))} speakers")


def _listed(file: Path, utt2set: kaldi.Table) -> dict[str, list[str]]:
    """Utterance ids of train, valid and test."""
    members = {name: [utt_id for utt_id, is_in in utt2set.items() if is_in == name] for name in SETS}
    if unknown := sorted(set(utt2set.values()) - {*SETS, ""}):
        raise UserError(f"{file}: {unknown[0]!r} is no set; allowed are {', '.join(SETS)}, or an id alone on its line")
    if empty := [name for name, utt_ids in members.items() if not utt_ids]:
        raise UserError(f"{file}: no utterance is in {empty[0]}; a fold needs {', '.join(SETS)}")
    return members


def _members(utt2fold: kaldi.Table, test: str, count: int, share: float | None) -> dict[str, list[str]]:
    """Utterance ids of train, valid and test."""
    rest = sorted(utt_id for utt_id, fold in utt2fold.items() if fold != test)
    if share is None:
        valid = {utt_id for utt_id in rest if utt2fold[utt_id] == str(int(test) % count + 1)}
    else:  # seeded by the fold: the same draw in every run
        size = min(max(1, round(share * len(rest))), len(rest) - 1)
        valid = set(random.Random(f"fold{test}").sample(rest, size))
    return {
        "train": [utt_id for utt_id in rest if utt_id not in valid],
        "valid": sorted(valid),
        "test": [utt_id for utt_id, fold in utt2fold.items() if fold == test],
    }


def _random_share(valid_split: str) -> float | None:
    """The share of "random:<share>"; None for "session"."""
    kind, _, number = valid_split.partition(":")
    try:
        share = float(number) if kind == "random" else math.nan
    except ValueError:
        share = math.nan
    if valid_split != "session" and not 0 < share < 1:
        raise UserError(f"--valid_split '{valid_split}': allowed are session and random:<share>, such as random:0.1")
    return None if valid_split == "session" else share


def check_speakers(train: Path, valid: Path, tests: Sequence[Path], allow_shared_speakers: bool = False) -> None:
    """UserError where ready-made sets are empty or share an utterance, its audio or, unless that is allowed, a speaker.

    Test sets may overlap each other, and one of them may be the validation directory itself, to have it decoded too.
    """
    sets = {path: kaldi.read_dir(path) for path in (train, valid, *tests)}
    for path, data in sets.items():
        kaldi.validate(path, data)
    _check_spelling(sets, allow_shared_speakers)
    heard = {path: _recordings(data) for path, data in sets.items()}
    with_tests = ((other, test) for test in tests for other in (train, valid) if not other == test == valid)
    for a, b in ((train, valid), *with_tests):
        _check_disjoint(a, sets[a], b, sets[b], allow_shared_speakers)
        if shared := sorted(heard[a].keys() & heard[b].keys()):
            raise UserError(
                f"{a} and {b}: share {len(shared)} recordings, e.g. {shared[0]}, which are {heard[a][shared[0]]} and "
                f"{heard[b][shared[0]]}: one corpus under two names? Put each recording in one set"
            )


def _recordings(data: kaldi.DataDir) -> kaldi.Table:
    """Audio entry, links resolved -> the utterance; a recording that is cut into segments is none."""
    return {} if "segments" in data else {os.path.realpath(entry): utt_id for utt_id, entry in data["wav.scp"].items()}


def _check_spelling(sets: dict[Path, kaldi.DataDir], allow_speakers: bool) -> None:
    """UserError for an id or a speaker that one set spells so and another one otherwise; labels are for stage 2."""
    where = ", ".join(map(str, sets))
    check_spelling(where, {utt_id: str(path) for path, data in sets.items() for utt_id in data["utt2spk"]}, case=False)
    if not allow_speakers:
        files = {path / "utt2spk": data["utt2spk"] for path, data in sets.items()}
        speakers = {speaker: str(file) for file, table in files.items() for speaker in table.values()}
        check_spelling(where, speakers, case=False)
        print_doubts(where, speakers)


def _count_folds(file: Path, utt2fold: kaldi.Table, least: int) -> int:
    """Return n where the values are 1..n and n is `least` or more."""
    values = set(utt2fold.values())
    count = len(values)
    allowed = set(map(str, range(1, count + 1)))
    wrong = [utt_id for utt_id, fold in utt2fold.items() if fold not in allowed]
    if wrong:
        raise UserError(
            f"{file}: {wrong[0]!r} is in fold {utt2fold[wrong[0]]!r}; the {count} values in the file have to be "
            f"the numbers 1 to {count}, none left out"
        )
    if count < least:
        raise UserError(f"{file}: {count} fold(s): the training set would be empty; 3 are needed; {RANDOM_TWO}")
    return count


def _check_disjoint(path_a: Path, a: kaldi.DataDir, path_b: Path, b: kaldi.DataDir, allow_speakers: bool) -> None:
    utt_ids = sorted(a["utt2spk"].keys() & b["utt2spk"].keys())
    if utt_ids:
        raise UserError(f"{path_a} and {path_b}: share {len(utt_ids)} utterances, e.g. {utt_ids[0]!r}; put each in one")
    speakers = sorted(kaldi.shared_speakers(a, b))
    if speakers and not allow_speakers:
        raise UserError(
            f"{path_a} and {path_b}: share {len(speakers)} speakers, e.g. {speakers[0]!r}; put each in one set, or "
            "say --allow_shared_speakers true if that is what the experiment is about"
        )
