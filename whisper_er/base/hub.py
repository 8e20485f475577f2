"""A pretrained model by name: from a directory, from the hub, or from the hub's cache."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from whisper_er.base.errors import UserError

TIMEOUT = 5  # seconds for the hub's first answer


def load_pretrained(kind: Any, whisper_model: str, **options: Any) -> Any:
    """`kind.from_pretrained`; UserError for what is neither a model directory nor on a hub that can be reached."""
    try:
        if Path(whisper_model).is_dir() and not Path(whisper_model, "config.json").is_file():
            raise OSError("it has no config.json")  # transformers would make an empty tokenizer
        # No code from the model's directory, nor a question about it at the terminal.
        return kind.from_pretrained(
            whisper_model, local_files_only=is_local(whisper_model), trust_remote_code=False, **options
        )
    except Exception as error:  # transformers raises whatever a broken file makes it raise
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise UserError(
            f"whisper_model '{whisper_model}' cannot be loaded: give a directory that transformers can read, or a hub "
            f"name such as openai/whisper-base with the hub reachable or the model in its cache ({reason})"
        ) from None


def model_directory(name: str) -> Path:
    """Path of a model: a directory as it is; a model of the hub once it is in the cache. UserError for neither."""
    if Path(name).is_dir():
        return Path(name)
    try:
        if Path(name).parent != Path() and Path(name).parent.is_dir():
            raise FileNotFoundError("no such directory")  # and not asked of the hub: it is a path with a slip in it
        return Path(snapshot_download(name, local_files_only=is_local(name)))
    except Exception as error:  # the hub's client and its network library raise what they like
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise UserError(
            f"model '{name}': give an experiment directory with ave.safetensors (stage 4), what stage 7 exported, or a "
            f"hub name with the hub reachable or the model in its cache ({reason})"
        ) from None


def is_local(whisper_model: str) -> bool:
    """Whether to read the disk alone: from_pretrained would try an unreachable hub for minutes."""
    if Path(whisper_model).is_dir():
        return True
    try:
        HfApi().model_info(whisper_model, timeout=TIMEOUT)
    except (HfHubHTTPError, HFValidationError):  # an answer; from_pretrained says what is wrong
        return False
    except Exception:  # a network error of requests, httpx or httpx2, by the version of the hub's client
        return True
    return False
