"""Compare a copy of the release with published.yaml, or with a list of ids: what differs, one phrase each."""

import hashlib
from collections import Counter
from pathlib import Path

import yaml
from release import FOUR, SESSIONS, Release

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.files import write_text
from whisper_er.base.plain_files import parse_json_lines, read_plain
from whisper_er.data.kaldi import Table, read_table

EMOBOX = "iemocap-"  # what its keys begin with


def disagreements(release: Release) -> list[str]:
    """What one part of the release has and another lacks."""
    rated = release.rated.keys()
    return [
        f"{len(ids)} rated utterances without {what}: {first_few(sorted(ids))}"
        for what, ids in (("a transcript", rated - release.texts.keys()), ("a wav", rated - release.wavs.keys()))
        if ids
    ] + [f"{len(ids)} wavs without a rating: {first_few(sorted(ids))}" for ids in [release.wavs.keys() - rated] if ids]


def differences(release: Release, id_list: Path | None, out_dir: Path) -> list[str]:
    """Where counts, ids and labels are not the published ones, one phrase each."""
    published = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    rated = list(release.rated.values())
    four = [one for one in rated if one.label in FOUR]
    found: list[tuple[str, object, object]] = [("dialogs", release.num_dialogs, published["dialogs"])]
    found += compare("label", Counter(one.label for one in rated), published["labels"])
    found += compare("style", Counter(one.style for one in four), published["styles"])
    for session in SESSIONS:
        own, key = [one for one in four if one.session == session], int(session)
        found.append(
            (
                f"session {session}: utterances",
                sum(one.session == session for one in rated),
                published["utterances"][key],
            )
        )
        found += compare(f"session {session}:", Counter(one.label for one in own), published["four_classes"][key])
        found += compare(f"session {session}:", Counter(one.gender for one in own), published["genders"][key])
    wrong = [f"{what} {count}, published {wanted}" for what, count, wanted in found if count != wanted]
    labels = {one.utt_id: one.label for one in four}
    return wrong + (listed_differences(labels, id_list, out_dir) if id_list else digest_differences(labels, published))


def compare(what: str, found: Counter, wanted: dict) -> list[tuple[str, int, int]]:
    return [(f"{what} {name}", found[name], wanted.get(name, 0)) for name in sorted(found.keys() | wanted.keys())]


def digest_differences(labels: dict[str, str], published: dict) -> list[str]:
    wrong = []
    labelled = sorted(f"{utt_id} {raw}" for utt_id, raw in labels.items())
    for what, lines in (("ids", sorted(labels)), ("labels", labelled)):
        digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
        if digest != published[f"sha256_{what}"]:
            wrong.append(
                f"the {what} of the four classes are not the published ones by their sha256 (--id_list, a "
                "list of ids and labels, names the differences)"
            )
    return wrong[:1]


def listed_differences(labels: dict[str, str], id_list: Path, out_dir: Path) -> list[str]:
    """Against a list of ids and raw codes; all differences go to a file beside out_dir."""
    listed = {utt_id: raw for utt_id, raw in read_id_list(id_list).items() if raw in FOUR}
    lines = [
        f"{utt_id} {labels.get(utt_id, 'missing')}, listed {listed.get(utt_id, 'not')}"
        for utt_id in sorted(labels.keys() | listed.keys())
        if labels.get(utt_id) != listed.get(utt_id)
    ]
    if not lines:
        return []
    full = out_dir.with_name("iemocap_differences.txt")
    full.parent.mkdir(parents=True, exist_ok=True)
    write_text(full, "\n".join(lines) + "\n")
    return [f"{len(lines)} ids differ from {id_list}: {first_few(lines, 3)} (all: {full})"]


def read_id_list(path: Path) -> Table:
    """id -> raw code, of lines `id label` or of a list of EmoBox, JSON lines with key and emo."""
    if path.suffix != ".jsonl":
        return read_table(path)
    remedy = "--id_list takes EmoBox's data/iemocap/iemocap.jsonl, or a file of lines `id label`"
    lines = read_plain(parse_json_lines, path, [{"key": str, "emo": str}], "a list of EmoBox", remedy)
    listed = {line["key"].removeprefix(EMOBOX): line["emo"] for line in lines}
    if len(listed) < len(lines):
        raise UserError(f"{path}: {len(lines) - len(listed)} keys are listed twice; {remedy}")
    return listed
