"""A data directory in parts, for jobs that decode at the same time: split it, and combine what comes out."""

from collections.abc import Sequence
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.plain_files import parse_json, read_plain
from whisper_er.data import kaldi

POSTERIORS = "posteriors.jsonl"  # one JSON object an utterance; in hypothesis directories only, as is the next
PROTOCOL = "decode.json"  # how the hypotheses came about: the same in all parts


def read_protocol(hyp_dir: Path) -> dict[str, str | float | bool | None]:
    shape = {str: (str, float, bool, None)}
    return read_plain(parse_json, hyp_dir / PROTOCOL, shape, "how a set was decoded", "decode the set again")


def split_dir(data_dir: Path, num_parts: int, out_dir: Path) -> None:
    """Write out_dir/1 .. out_dir/<num_parts>: runs of neighbouring utterances, whose numbers differ by one at most."""
    data = kaldi.read_dir(data_dir)
    kaldi.validate(data_dir, data)
    utt_ids = kaldi.utterances(data)
    if not 1 <= num_parts <= len(utt_ids):
        raise UserError(f"{data_dir}: cannot be split into {num_parts} parts; allowed are 1 to {len(utt_ids)} (--n)")
    bounds = [len(utt_ids) * part // num_parts for part in range(num_parts + 1)]
    for part in range(num_parts):
        kaldi.write_dir(out_dir / str(part + 1), kaldi.subset(data, utt_ids[bounds[part] : bounds[part + 1]]))


def combine_dirs(part_dirs: Sequence[Path], out_dir: Path) -> None:
    """Write the parts as out_dir, whole: all tables, posteriors.jsonl one after the other, decode.json as it is.

    UserError for a duplicate id, for what only some parts have, and for parts that were decoded in different ways.
    """
    whole = kaldi.combine([kaldi.read_dir(part) for part in part_dirs], part_dirs)
    posteriors = _read_all(part_dirs, POSTERIORS)
    protocols = _read_all(part_dirs, PROTOCOL)
    for part, protocol in zip(part_dirs if protocols else (), protocols, strict=True):
        if protocol != protocols[0]:
            raise UserError(f"{part / PROTOCOL}: differs from that of {part_dirs[0]}; decode all parts in the same way")
    with kaldi.replace_dir(out_dir) as new:
        for name, table in whole.items():
            kaldi.write_table(new / name, table)
        if posteriors:
            (new / POSTERIORS).write_bytes(b"".join(posteriors))
        if protocols:
            (new / PROTOCOL).write_bytes(protocols[0])


def _read_all(part_dirs: Sequence[Path], name: str) -> list[bytes]:
    """Return the file's content in every part; none where no part has it."""
    lacking = [part for part in part_dirs if not (part / name).is_file()]
    if len(lacking) == len(part_dirs):
        return []
    if lacking:
        raise UserError(f"{lacking[0] / name}: no such file, though other parts have it; decode that part again")
    return [(part / name).read_bytes() for part in part_dirs]
