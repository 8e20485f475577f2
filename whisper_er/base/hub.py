"""A pretrained model by name: from a directory, from the hub, or from the hub's cache."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from whisper_er.base.errors import UserError, first_few

TIMEOUT = 5  # seconds for the hub's first answer
HUB_INSTEAD = (
    "or a name on the hub such as openai/whisper-base (openai-whisper's own .pt files are not read; the hub has the "
    "same models)"
)
WEIGHTS = ("model", "pytorch_model")  # begin the names of a whole model's weights, in one file or in shards
POINTER = b"version https://git-lfs"  # begins what Git LFS leaves for a file that it has not fetched


def load_pretrained(
    kind: Any,
    whisper_model: str,
    option: str = "whisper_model",
    needs: Sequence[Sequence[str]] = (),
    **options: Any,
) -> Any:
    """`kind.from_pretrained`; UserError for what is neither a model directory nor on a hub that can be reached.

    option: its name, for messages; needs: sets of files of which a directory has to have one.
    """
    try:
        if reason := why_not_loaded(Path(whisper_model), needs):
            raise UserError(f"{option} '{whisper_model}' {reason}")
        # No code from the model's directory, nor a question about it at the terminal.
        return kind.from_pretrained(
            whisper_model, local_files_only=is_local(whisper_model), trust_remote_code=False, **options
        )
    except UserError:
        raise
    except Exception as error:  # transformers raises whatever a broken file makes it raise
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        if not os.path.isdir(whisper_model):
            remedy = (
                "give a directory that transformers can read, or a hub name such as openai/whisper-base with the hub "
                "reachable or the model in its cache"
            )
        elif pointers := find_pointers(Path(whisper_model)):
            remedy = f"it has pointers of Git LFS in place of {first_few(pointers)}; run `git lfs pull` in it"
        else:
            remedy = "copy or download the files of the directory again"
        raise UserError(f"{option} '{whisper_model}' cannot be loaded: {remedy} ({reason})") from None


def why_not_loaded(path: Path, needs: Sequence[Sequence[str]] = ()) -> str:
    """What a file or a directory lacks, and where to get it; "" for a directory that may be loaded, and for a name.

    With these faults transformers goes on with an empty tokenizer, or its error names no way out.
    """
    if path.is_file():
        return f"is a file; give the directory that holds it and its config.json, {HUB_INSTEAD}"
    if not path.is_dir():
        return ""
    names = {file.name for file in path.iterdir() if file.is_file()}
    if "adapter_config.json" in names and not any(name.startswith(WEIGHTS) for name in names):
        return (
            "is an adapter (LoRA), which changes another model; merge the two, by peft's merge_and_unload(), and "
            "save_pretrained() the result with the tokenizer of the other model"
        )
    if "config.json" not in names:
        return no_config(path, names)
    if needs and not any(names.issuperset(files) for files in needs):
        return (
            f"has no {' or '.join(' and '.join(files) for files in needs)}: a checkpoint of transformers' Trainer may "
            "hold the model alone; get the rest from the model that it was fine-tuned from: AutoProcessor."
            f"from_pretrained('<that model>').save_pretrained('{path}')"
        )
    return ""


def no_config(path: Path, names: set[str]) -> str:
    """Why a directory without config.json is no model of transformers, and what to give instead."""
    if not any(path.iterdir()):
        return f"is empty; give a directory that transformers can read, {HUB_INSTEAD}"
    if "backbone_config.json" in names:
        return "is an experiment of ours, with other names for its weights; give what stage 7 exported of it"
    models = sorted(str(file.parent) for file in path.glob("*/config.json"))
    inside = f"; models are in it: {first_few(models)}" if models else ""
    return f"has no config.json, so transformers cannot read it{inside or f'; give another directory, {HUB_INSTEAD}'}"


def find_pointers(path: Path) -> list[str]:
    """The files that Git LFS has not fetched. Asked only where loading failed: they may be of another framework."""
    pointers = []
    for file in sorted(path.iterdir()):
        if file.is_file() and os.access(file, os.R_OK):
            with file.open("rb") as stream:
                pointers += [file.name] if stream.read(len(POINTER)) == POINTER else []
    return pointers


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
