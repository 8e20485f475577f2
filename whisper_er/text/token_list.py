"""The token list on disk: what is predicted, and which vocabulary it extends. Stage 2 writes it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from whisper_er.base.errors import UserError
from whisper_er.base.plain_files import misfit, parse_yaml, read_plain
from whisper_er.task import Task, check_task

LIST_FILE = "token_list.yaml"
LARGEST_BASE = 10_000_000
SHAPE = {
    "token_type": ("whisper", "bpe", "none"), "language": str, "multilingual": bool, "base_size": int,
    "tasks": [{"name": str, "kind": ("text", "category", "scale"), "labels": [(str, int, float)]}],
}  # fmt: skip


@dataclass(frozen=True)
class TokenList:
    """token_type: whisper, bpe or none; language: of the text; multilingual: whether Whisper knows language tokens;
    base_size: entries before the added ones; tasks: in the order of the target.
    """

    token_type: str
    language: str
    multilingual: bool
    base_size: int
    tasks: tuple[Task, ...]

    def write(self, directory: Path) -> None:
        content = plain(asdict(self))
        for task in content["tasks"]:
            if not task["open"]:
                del task["open"]  # as it is read where it is missing
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (directory / LIST_FILE).write_text(text, encoding="utf-8")


def read_token_list(directory: Path) -> TokenList:
    """UserError for a file that is missing or not a token list."""
    path = Path(directory) / LIST_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; stage 2 writes it")
    what, remedy = "a token list", "run stage 2 again"
    content = read_plain(parse_yaml, path, SHAPE, what, remedy)
    try:
        tasks = tuple(map(read_task, content["tasks"]))
    except UserError as error:
        raise UserError(f"{path}: not {what} ({error}); {remedy}") from None
    names = {task.name for task in tasks}
    if len(names) < len(tasks) or not names or not 0 < content["base_size"] <= LARGEST_BASE:
        raise UserError(f"{path}: not {what} (no task, one twice, or a base_size above {LARGEST_BASE}); {remedy}")
    return TokenList(*(content[key] for key in ("token_type", "language", "multilingual", "base_size")), tasks)


def read_task(content: dict) -> Task:
    """UserError for what does not fit together."""
    is_open = content.get("open", False)
    if problem := misfit(is_open, bool, "'open'"):
        raise UserError(problem)
    task = Task(content["name"], content["kind"], tuple(map(str, content["labels"])), is_open)
    check_task(task, "tasks")
    return task


def plain(value: object) -> object:
    """The value with lists for tuples: YAML writes them without a tag."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
