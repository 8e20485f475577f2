"""The token list on disk: what is predicted, and which vocabulary it extends. Stage 2 writes it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from whisper_er.errors import UserError
from whisper_er.task import Task

LIST_FILE = "token_list.yaml"


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
        text = yaml.safe_dump(plain(asdict(self)), sort_keys=False, allow_unicode=True)
        (directory / LIST_FILE).write_text(text, encoding="utf-8")


def read_token_list(directory: Path) -> TokenList:
    path = Path(directory) / LIST_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; stage 2 writes it")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        tasks = tuple(Task(t["name"], t["kind"], tuple(map(str, t["labels"]))) for t in content["tasks"])
        return TokenList(
            content["token_type"], content["language"], content["multilingual"], int(content["base_size"]), tasks
        )
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        problem = " ".join(f"{type(error).__name__} {error}".split())
        raise UserError(f"{path}: not a token list ({problem}); run stage 2 again") from error


def plain(value: object) -> object:
    """Tuples as lists, which YAML writes without a tag."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
