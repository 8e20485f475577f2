"""The experiment directory: the description of its training, and the check that no other is mixed into it."""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from whisper_er.base import settings
from whisper_er.base.errors import UserError, first_few
from whisper_er.base.files import write_text
from whisper_er.base.plain_files import misfit, parse_json, parse_yaml, read_plain, shorten
from whisper_er.config import TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.text_sources import HUMANS, text_sources, without_text, written_by
from whisper_er.score.results import RESULT

# Keys that may differ: the model does not depend on them, or, as with the languages, a digest covers what they say.
HARMLESS = ("num_workers", "cache_gb", "log_interval", "save_interval", "activation_checkpointing", "bfloat16_weights",
            "parallel", "graphs", "compile", "keep_checkpoints", "train_set.path", "valid_set.path", "token_list.path",
            "train_set.teacher_speakers",
             *(f"{name}.{key}" for name in ("train_set", "valid_set")
               for key in ("languages", "text_sources", "without_text", "labels", "label_counts")))  # fmt: skip
DATA = "data.yaml"  # digests, sizes and speakers of the sets
STATE = "state.safetensors"  # the training state, until training has ended
BEST = Path("checkpoints", "best.json")  # the best checkpoints, and whether training has ended
AVERAGE = "ave.safetensors"  # a link to the mean of the best checkpoints
BEST_SHAPE = {
    "metric": str, "n_best": int, "finished": str,
    "best": [{"step": int, "accuracy": (float, -math.inf, None), "loss": (float, None)}],
}  # fmt: skip
NEW_TAG = "give another ser_tag, or remove the directory"
UNTRAINED = "untrained"  # the metric in best.json where max_steps is 0


def describe(config: TrainConfig, inputs: dict[str, Path], tables: dict[str, Path]) -> dict[str, Any]:
    """Description of an experiment: its configuration, and digests of its inputs.

    inputs: train_set, valid_set and token_list, directories; tables: single files, such as a list of noises.
    """
    turns = config.context.turns > 0
    data: dict[str, Any] = {name: {"path": str(path), "sha256": digest(path, turns)} for name, path in inputs.items()}
    for name in ("train_set", "valid_set"):
        spoken_by = kaldi.read_table(inputs[name] / "utt2spk").values()
        data[name] |= {"num_utterances": len(spoken_by), "speakers": sorted(set(spoken_by))}
        found = {
            "text_sources": text_sources(inputs[name]),
            "without_text": without_text(inputs[name]),
            "labels": about_labels(inputs[name]),
            "turns": turns,
        }
        data[name] |= {key: value for key, value in found.items() if value}
    for name, path in tables.items():
        data[name] = {"sha256": file_digest(path)}
    return {"config": settings.to_plain(config), "data": data}


def kept_weights(config: TrainConfig) -> dict[str, Path]:
    """What to compare when a training with LoRA goes on, or its checkpoints are merged: the files of the pretrained
    model, which these lack, where it is a directory."""
    directory = Path(config.model.whisper_model or config.model.encoder_model)
    files = sorted(directory.glob("model*.safetensors")) if config.lora.r and directory.is_dir() else []
    return {f"pretrained/{path.name}": path for path in files}


def check_kept_weights(exp_dir: Path, config: TrainConfig) -> None:
    """UserError where the pretrained model of a training with LoRA has changed since."""
    recorded = read_data(exp_dir)
    for name, path in kept_weights(config).items():
        if recorded.get(name) != {"sha256": file_digest(path)}:
            raise UserError(
                f"{path}: has changed since {exp_dir} was trained with LoRA, whose checkpoints need it as it was; put "
                f"it back, or {NEW_TAG}"
            )


def check_same(exp_dir: Path, description: dict[str, Any]) -> None:
    """UserError that lists every difference from what the directory was started with, once something was trained.

    A key that its config.yaml lacks is newer than it, and is taken to have had its default.
    """
    if (exp_dir / AVERAGE).is_file() and not (exp_dir / STATE).is_file() and not (exp_dir / BEST).is_file():
        raise UserError(f"{exp_dir}: was trained, but {BEST} is gone: put it back, {NEW_TAG}")
    if not started(exp_dir):
        return
    recorded = {
        name: read_plain(parse_yaml, exp_dir / f"{name}.yaml", {}, "what training writes", NEW_TAG)
        for name in description
    }
    config = with_defaults(TrainConfig.updated(recorded["config"]), settings.to_plain(TrainConfig()))
    changes = differences(config, description["config"]) + differences(recorded["data"], description["data"])
    if changes:
        raise UserError(f"{exp_dir}: was started with another configuration: {'; '.join(changes)}; {NEW_TAG}")


def with_defaults(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values, and the defaults of those that are missing, in every section."""
    inner = {
        key: with_defaults(value, defaults[key])
        for key, value in values.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return defaults | values | inner


def write_description(exp_dir: Path, description: dict[str, Any], token_list: Path) -> None:
    """Write config.yaml, data.yaml, environment.json and a copy of the token list."""
    exp_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(exp_dir / "token_list", ignore_errors=True)
    shutil.copytree(token_list, exp_dir / "token_list")
    write_text(exp_dir / "environment.json", json.dumps(environment(), indent=1) + "\n")
    for name, content in description.items():
        write_text(exp_dir / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def keeps_checkpoints(exp_dir: Path) -> bool:
    """Whether a call has asked for keep_checkpoints, as config.yaml says."""
    config = read_plain(parse_yaml, exp_dir / "config.yaml", {}, "what training writes", NEW_TAG)
    return config.get("keep_checkpoints") is True


def write_keeping(exp_dir: Path, keep: bool) -> None:
    """Let config.yaml say whether the checkpoints are kept; a call may ask for it later than the first."""
    if keeps_checkpoints(exp_dir) != keep:
        path = exp_dir / "config.yaml"
        config = parse_yaml(path.read_text(encoding="utf-8")) | {"keep_checkpoints": keep}
        write_text(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def ended(exp_dir: Path) -> str:
    """Why training ended, from best.json; "" while it has not."""
    return read_best(exp_dir)["finished"] if (exp_dir / BEST).is_file() else ""


def started(exp_dir: Path) -> bool:
    """Whether training goes on from what is there, or has ended."""
    return (exp_dir / STATE).is_file() or bool(ended(exp_dir))


def fold_state(exp_dir: Path, hypotheses: Path) -> str:
    """How far training, decoding and scoring of a fold are, as its files say. hypotheses: the directory in it that
    decoding writes, such as decode_default/test."""
    if (exp_dir / hypotheses / RESULT).is_file():
        return "scored"
    if (exp_dir / hypotheses).is_dir():
        return "decoded"
    if (exp_dir / AVERAGE).is_file():
        return "averaged"
    if ended(exp_dir):
        return "trained"
    return "in training" if (exp_dir / STATE).is_file() else "to do"


def check_unseen(exp_dir: Path, data_dir: Path) -> None:
    """UserError if the model was trained on a speaker of this set: a score on it would not be a test."""
    shared = sorted(heard(exp_dir) & set(speakers(data_dir)))
    if shared:
        raise UserError(
            f"{data_dir}: {exp_dir} was trained on {len(shared)} of its speakers: {first_few(shared)}; decode a set of "
            "other speakers, or give --allow_shared_speakers true"
        )


def heard(exp_dir: Path) -> set[str]:
    """The speakers that an experiment was trained on, and those that its teacher was trained on."""
    train = read_data(exp_dir)["train_set"]
    return {*train["speakers"], *train.get("teacher_speakers", ())}


def validation_set(exp_dir: Path, data_dir: Path | None) -> Path:
    """The directory of the validation set: data_dir, or where training read it. UserError where it holds another set:
    what is fitted after training sees no test set."""
    valid = read_data(exp_dir)["valid_set"]
    if problem := misfit(valid, {"path": str, "sha256": str}, "'valid_set'"):
        raise UserError(f"{exp_dir / 'data.yaml'}: not the sets of a training ({problem}); {NEW_TAG}")
    directory = data_dir or Path(valid["path"])
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; give --ref_dir, the validation set of {exp_dir}")
    if not is_as_recorded(directory, valid):
        raise UserError(
            f"{directory}: not the validation set of {exp_dir}, {valid['path']}, as training read it; only that is "
            "allowed here, never a test set"
        )
    return directory


def protocol(exp_dir: Path, test_dir: Path) -> str:
    """One line: the training, validation and test sets, the selecting metric, the speakers that the sets share, what
    became of labels, and whether the data have changed since training read them."""
    data, spoken_by = read_data(exp_dir), list(kaldi.read_table(test_dir / "utt2spk").values())
    train, valid, test = (
        set(names) for names in (data["train_set"]["speakers"], data["valid_set"]["speakers"], spoken_by)
    )
    best = read_best(exp_dir)
    selected = "not trained, nothing selected"
    if best["metric"] != UNTRAINED:
        languages = data["train_set"].get("languages", {})
        spoken = ", ".join(f"{language} {count}" for language, count in languages.items())
        prefixes = f", language prefixes: {spoken} (utt2lang)" if spoken else ""
        selected = (
            f"trained on {data['train_set']['num_utterances']} utterances of {len(train)} speakers{prefixes}; model "
            f"selected by {best['metric']} on {data['valid_set']['num_utterances']} utterances of {len(valid)} "
            f"speakers, {len(valid & train)} of them in training"
        )
    said = [
        f"{selected}; tested on {len(spoken_by)} utterances of {len(test)} speakers, {len(test & train)} of them "
        f"in training, {len(test & valid)} in validation"
    ]
    labels = {"training": data["train_set"].get("labels", ""), "test": about_labels(test_dir)}
    said += [f"labels of {name}: {about}" for name, about in labels.items() if about]
    sets = {"training": data["train_set"], "validation": data["valid_set"]}
    if changed := [name for name, recorded in sets.items() if has_changed(recorded)]:
        said.append(f"the {' and '.join(changed)} data have changed since: the model has not seen what is there now")
    return "; ".join(said)


def has_changed(recorded: dict[str, Any]) -> bool:
    """Whether the directory of a set that data.yaml records is still there and holds something else."""
    path = recorded.get("path", "")
    is_there = "sha256" in recorded and os.path.isfile(os.path.join(path, "utt2spk"))
    return is_there and not is_as_recorded(Path(path), recorded)


def is_as_recorded(directory: Path, recorded: dict[str, Any]) -> bool:
    """Whether a directory holds the set that data.yaml records."""
    return digest(directory, recorded.get("turns", False)) == recorded["sha256"]


def about_labels(data_dir: Path) -> str:
    """What became of the labels of a directory that was pooled from several; "" of any other."""
    path = data_dir / kaldi.ABOUT
    return " ".join(path.read_text(encoding="utf-8").split()) if path.is_file() else ""


def trained_languages(exp_dir: Path) -> dict[str, int]:
    """Language -> training utterances whose prefix named it; none unless utt2lang chose the prefixes."""
    return read_data(exp_dir)["train_set"].get("languages", {}) if (exp_dir / DATA).is_file() else {}


def trained_label_counts(exp_dir: Path) -> dict[str, dict[str, int]]:
    """Category -> label -> how often an epoch of the training drew it; none where that is not recorded."""
    return read_data(exp_dir)["train_set"].get("label_counts", {}) if (exp_dir / DATA).is_file() else {}


def text_protocol(exp_dir: Path, test_dir: Path) -> str:
    """Who wrote the transcripts of the training and the test set; "" where it was humans alone, and there are all."""
    train, test, empty = read_data(exp_dir)["train_set"], text_sources(test_dir), without_text(test_dir)
    of_train = written_by(train.get("text_sources", {}), train.get("without_text", 0), train["num_utterances"])
    num_test = len(kaldi.read_table(test_dir / "utt2spk"))
    of_test = written_by(test, empty, num_test)
    if of_train == of_test == HUMANS:
        return ""
    whose = f"training and test: {of_test}" if of_train == of_test else f"training: {of_train}, of test: {of_test}"
    caveats = {0: "", num_test - empty: "; the WER is against these, not against human transcripts"}
    partly = f"; the WER of {sum(test.values())} test utterances is not against human transcripts"
    return f"transcripts of {whose}{caveats.get(sum(test.values()), partly)}"


def read_data(exp_dir: Path) -> dict[str, Any]:
    path, dataset = exp_dir / DATA, {"num_utterances": int, "speakers": [str]}
    what, remedy = "the sets of a training", NEW_TAG
    data = read_plain(parse_yaml, path, {"train_set": dataset, "valid_set": dataset}, what, remedy)
    shapes = {"languages": {str: int}, "text_sources": {str: int}, "without_text": int, "labels": str, "path": str,
              "sha256": str, "teacher_speakers": [str], "label_counts": {str: {str: int}}, "turns": bool}  # fmt: skip
    for recorded in (data["train_set"], data["valid_set"]):
        for key in shapes.keys() & recorded.keys():
            if problem := misfit(recorded[key], shapes[key], f"'{key}'"):
                raise UserError(f"{path}: not {what} ({problem}); {remedy}")
    return data


def read_environment(exp_dir: Path) -> dict[str, Any]:
    """environment.json: the command of the training, versions, devices."""
    return read_plain(parse_json, exp_dir / "environment.json", {str: (str, [str])}, "what training ran in", NEW_TAG)


def read_best(exp_dir: Path) -> dict[str, Any]:
    """The list of the best checkpoints. UserError where there is none."""
    path = exp_dir / BEST
    if not path.is_file():
        raise UserError(f"{path}: no such file; stage 3 writes it at its first validation")
    best = read_plain(parse_json, path, BEST_SHAPE, "a list of checkpoints", "run stage 3 again")
    if not re.fullmatch(r"[\w-]+", best["metric"]):  # the name of what averaging writes begins with it
        raise UserError(f"{path}: the metric '{best['metric']}' is no name; run stage 3 again")
    return best


def speakers(data_dir: Path) -> list[str]:
    return sorted(set(kaldi.read_table(data_dir / "utt2spk").values()))


def differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs, without the HARMLESS ones."""
    changes = []
    for key in sorted(before.keys() | after.keys(), key=str):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += differences(old, new, f"{prefix}{key}.")
        elif old != new and f"{prefix}{key}" not in HARMLESS:
            changes.append(f"{prefix}{key}: {shorten(old)} -> {shorten(new)}")
    return changes


def digest(directory: Path, turns: bool = False) -> str:
    """sha256 over the names and contents of a directory's own files (tables, not the audio below it).

    turns: whether utt2prev is among them. A training without context does not read it, and may have begun before it was
    there.
    """
    sha256 = hashlib.sha256()
    paths = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name != kaldi.AUDIO and not name.startswith(".")]
        names = [name for name in names if turns or name != kaldi.PREVIOUS_TABLE]
        paths += [Path(folder, name) for name in names if not name.startswith(".")]
    for path in sorted(paths):
        sha256.update(f"{path.relative_to(directory)}\0".encode())
        sha256.update(hashlib.sha256(path.read_bytes()).digest())
    return sha256.hexdigest()


def file_digest(path: Path) -> str:
    """sha256, read in pieces: weights are large."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            sha256.update(piece)
    return sha256.hexdigest()


def environment() -> dict[str, str | list[str]]:
    """What the result may depend on besides the configuration."""
    import torch  # here: it takes seconds, and reading an experiment needs none of it

    return {
        "command": sys.argv,
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def git_revision() -> str:
    """Commit of the source tree, with `-dirty` where files differ from it; "unknown" without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
