"""The documents say what is there: the map of the package, links, paths, and the length of the first page."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest
from repository import ROOT

from whisper_er.config import DecodeConfig, TrainConfig

PACKAGE = ROOT / "whisper_er"
README, MAP = ROOT / "README.md", PACKAGE / "README.md"
GUIDES = [README, MAP, *ROOT.glob("egs/TEMPLATE/*.md"), *ROOT.glob("egs/*/ser1/README.md"),
          ROOT / "tools/README.md", ROOT / "tools/benchmark/README.md"]  # fmt: skip
MOST_LINES = 200
TOP = ("egs", "test", "tools", "whisper_er")  # what a path from the root begins with
EXAMPLES = ("egs/mycorpus", "tools/venv")  # made by the user, or by the set-up


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """From a heading to the next one."""
    (found,) = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    return found


def map_of(text: str) -> dict[str, list[str]]:
    """Folder -> the files that its table lists; "whisper_er" is the package itself.

    A folder is a heading (### `data/`), a file the first cell of a row (| `kaldi.py` | ...).
    """
    parts = re.split(r"^### `(\w+)/`$", text.partition("\n## Files\n")[2], flags=re.MULTILINE)
    return {
        folder: re.findall(r"^\| `(\w+\.py)` \|", table, re.MULTILINE)
        for folder, table in zip(parts[1::2], parts[2::2])
    }


def files_of_the_package() -> dict[str, list[str]]:
    """The same of what is there; __init__.py apart."""
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            found.setdefault(path.parent.name, []).append(path.name)
    return found


def named_paths(text: str) -> list[str]:
    """Words in backticks that begin like a path of the repository, and files of it in blocks of commands."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    text = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    words = [word for span in re.findall(r"`([^`\n]+)`", text) for word in span.split()]
    words += [word for block in blocks for word in block.split() if re.search(r"\.(sh|py|md|yaml)$", word)]
    paths = [word for word in words if re.fullmatch(r"[\w./-]+", word) and word.split("/")[0] in TOP and "/" in word]
    return [path for path in paths if not path.startswith(EXAMPLES)]


def links(text: str) -> list[tuple[str, str]]:
    """(path, anchor) of every link that stays in the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target.partition("#")[::2] for target in targets if "://" not in target]


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def has_key(config: type, key: str) -> bool:
    """Whether a dataclass has the key, nested keys with dots."""
    name, _, rest = key.partition(".")
    kinds = typing.get_type_hints(config)
    return name in kinds and (not rest or dataclasses.is_dataclass(kinds[name]) and has_key(kinds[name], rest))


def test_the_first_page_has_at_most_200_lines():
    assert len(read(README).splitlines()) <= MOST_LINES


def test_the_map_names_every_file_of_the_package_once_and_no_other():
    listed, there = map_of(read(MAP)), files_of_the_package()
    assert listed.keys() == there.keys()
    for folder, names in listed.items():
        assert sorted(names) == sorted(there[folder]), f"{folder}/: correct whisper_er/README.md"


def test_the_list_of_layers_names_every_folder():
    named = re.findall(r"`(\w+)/`", section(read(MAP), "Layers"))
    assert set(named) == files_of_the_package().keys() - {"whisper_er"} and len(named) == len(set(named))


def test_what_is_chosen_by_name_is_a_dict_in_its_file_and_a_key_of_the_configuration():
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| `([\w/.]+)` \| `([\w.]+)`", read(MAP), re.MULTILINE)
    assert len(rows) >= 5
    for name, file, key in rows:
        assert re.search(rf"^{name}\b.*=", read(PACKAGE / file), re.MULTILINE), f"{file} has no {name}"
        assert has_key(TrainConfig, key) or has_key(DecodeConfig, key), f"config.py has no {key}"


def test_files_of_the_package_that_its_map_points_to_are_there():
    folders = "|".join(files_of_the_package())
    paths = re.findall(rf"`((?:{folders})/[\w.]+\.\w+)`", read(MAP))
    assert [path for path in paths if not (PACKAGE / path).is_file()] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_every_path_of_the_repository_leads_somewhere(guide):
    text = read(guide)
    for path, anchor in links(text):
        target = guide.parent / path if path else guide
        assert target.exists(), path
        assert not anchor or anchor in anchors(read(target)), f"{path}#{anchor}"
    assert [path for path in named_paths(text) if not (ROOT / path).exists()] == []


def test_the_parsers_see_what_is_wrong():
    text = "# a\n## Files\n\n### `data/`\n| `kaldi.py` | x |\n| `x` | no file |\n### `bin/`\n\n| `train.py` | y |\n"
    assert map_of(text) == {"data": ["kaldi.py"], "bin": ["train.py"]}
    text = "`egs/x/run.sh --a` `conf/a.yaml` `egs/<c>/ser1`\n```bash\ntest/gone.sh exp/a.sh egs/y\n```\n"
    assert named_paths(text) == ["egs/x/run.sh", "test/gone.sh"]
    assert links("[a](b.md#c-d) [e](https://f.g) [h](#i)") == [("b.md", "c-d"), ("", "i")]
    assert anchors("# What happens, `x`\n## GPU\n") == {"what-happens-x", "gpu"}
    assert has_key(TrainConfig, "optim.lr") and not has_key(TrainConfig, "optim.gone")
    assert not has_key(TrainConfig, "seed.gone")
