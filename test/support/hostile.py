"""What the tests of hostile input share: how a thing is spoilt, by a table or at random, and what may come of it."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_er.base.errors import LONGEST, UserError
from whisper_er.data.kaldi import read_table, write_table


def cases(number: int) -> settings:
    """The same cases in every run; those that failed are not stored on disk."""
    return settings(max_examples=number, derandomize=True, deadline=None, database=None)


def checked(error: UserError) -> str:
    """Its message, after it was seen to be one printable line."""
    message = str(error)
    assert message.strip() and message.isprintable() and len(message) <= LONGEST, message
    return message


def attempt(function: Callable, *arguments: object) -> object:
    """What the function returns (True for None); None where it raises a UserError of one line."""
    try:
        result = function(*arguments)
    except UserError as error:
        checked(error)
        return None
    return True if result is None else result


def tree(top: Path, skip: tuple[str, ...] = ()) -> dict[str, bytes | None]:
    """Content by path of everything below; of a link where it points, None for what is no regular file."""
    files = {}
    for entry in os.scandir(top):
        if entry.name not in skip:
            paths = [Path(entry.path), *Path(entry.path).rglob("*")] if entry.is_dir() else [Path(entry.path)]
            files |= {str(path): content_of(path) for path in paths}
    return files


def content_of(path: Path) -> bytes | None:
    if path.is_symlink():
        return os.readlink(path).encode()
    return path.read_bytes() if path.is_file() else None


def spoil(root: Path, files: dict[str, object]) -> None:
    """Change files below root: None removes, a number cuts, a dict changes lines of a table, a text is written."""
    for pattern, content in files.items():
        for path in list(root.glob(pattern)) or [root / pattern]:
            match content:
                case None:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                case int():
                    path.write_bytes(path.read_bytes()[:content])
                case dict():
                    write_table(path, (read_table(path) if path.exists() else {}) | content)
                case _:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(content)


# A file of an experiment and its reader

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.text(max_size=3),
    st.sampled_from([10**400, 10**18, -1, 1e308, "../../x", "\ud800", "\x00", "\n", "nan", "asr", "sad", "valid-00", "",
                     "scale", "text", "category", "whisper", "none", "1", "a/b", "$(touch marker)"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def mutate(draw, value):
    """One place of a plain value, whatever its depth, is replaced, removed, renamed or doubled."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 5)) == 0:
        return draw(values)
    where = draw(st.sampled_from(sorted(value))) if isinstance(value, dict) else draw(st.integers(0, len(value) - 1))
    what = draw(st.sampled_from(["deeper", "deeper", "deeper", "remove", "double"]))
    new = dict(value) if isinstance(value, dict) else list(value)
    if what == "deeper":
        new[where] = mutate(draw, value[where])
    elif what == "remove":
        del new[where]
    elif isinstance(new, dict):
        new[draw(st.text(max_size=3) | st.sampled_from(["../x", "\ud800"]))] = new[where]
    else:
        new.append(new[where])
    return new


@st.composite
def spoilt_bytes(draw, whole: bytes) -> bytes:
    """Some bytes are overwritten, more often near the beginning, inserted, or cut off."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, 40) | st.integers(0, 2000) | st.integers(0, len(whole)))
        new = draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"[" * 3000, b"{", b"NaN", b"\xff" * 8]))
        if draw(st.booleans()):
            content[where : where + len(new)] = new
        else:
            content[where : where + draw(st.integers(0, 9))] = new
    return bytes(content[: draw(st.sampled_from([None, None, None, 0, 7, 8, 9, 100, -1]))])


@st.composite
def spoilt(draw, whole: bytes, suffix: str) -> bytes:
    """Text is changed as the value that it holds, one time in four as bytes like all other files."""
    if suffix not in (".yaml", ".json", ".jsonl") or draw(st.integers(0, 3)) == 0:
        return draw(spoilt_bytes(whole))
    if suffix == ".yaml":
        return yaml.dump(mutate(draw, yaml.safe_load(whole)), allow_unicode=True).encode("utf-8", "surrogatepass")
    if suffix == ".jsonl":
        lines = mutate(draw, [json.loads(line) for line in whole.splitlines()])
        return "".join(json.dumps(line) + "\n" for line in (lines if isinstance(lines, list) else [lines])).encode()
    return json.dumps(mutate(draw, json.loads(whole))).encode()


def offer(path: Path, content: bytes, read: Callable[[Path], object]) -> bool:
    """Whether the file is read with this content; if not, one line has named it. The whole file is put back."""
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        message = checked(error)
        assert path.name in message or (path.name == "bpe.model" and "token_list" in message), message
        return False
    finally:
        path.write_bytes(whole)
    return True


def offer_anything(path: Path, read: Callable[[Path], object]) -> None:
    """The whole file is read; spoilt in 150 ways it is read or refused, and refused at least once."""
    whole, outcomes = path.read_bytes(), set()
    assert offer(path, whole, read)

    @cases(150)
    @given(spoilt(whole, path.suffix))
    def fuzz(content):
        outcomes.add(offer(path, content, read))

    fuzz()
    assert False in outcomes


class Trap:
    """What unpickles to a call that makes the directory `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def offer_pickles(path: Path, read: Callable[[Path], object], directory: Path) -> None:
    """In any protocol, and as torch saves it, a pickle is refused and not run, though it would work."""
    import torch  # what reads audio or tables goes without

    marker, trap = directory / "marker", directory / "trap"
    torch.save({"model": Trap(marker)}, trap)
    for content in (trap.read_bytes(), pickle.dumps(Trap(marker)), pickle.dumps(Trap(marker), 0)):
        assert not offer(path, content, read) and not marker.exists()
    for protocol in (None, 0):
        pickle.loads(pickle.dumps(Trap(marker), protocol))
        marker.rmdir()
