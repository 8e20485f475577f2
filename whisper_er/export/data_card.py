"""What a model card says about the corpus: nobody can guess it, so the recipe states it in conf/data_card.yaml."""

from dataclasses import dataclass
from pathlib import Path

from whisper_er.base import settings
from whisper_er.base.errors import UserError


@dataclass(frozen=True)
class DataCard:
    """corpus: its name; url: where it is published; licence: its terms, and what they mean for a model trained on it;
    intended_use, limits: sentences. What is empty was not stated."""

    corpus: str = ""
    url: str = ""
    licence: str = ""
    intended_use: str = ""
    limits: str = ""


def read_data_card(path: Path | None) -> DataCard:
    """Of no file, an empty one; UserError for a file that is missing or has other keys."""
    if path is None:
        return DataCard()
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; write it (egs/TEMPLATE/ser1/conf/data_card.yaml has its keys)")
    return settings.load(DataCard, path)
