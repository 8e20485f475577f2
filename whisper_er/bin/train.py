"""Stage 3: train one model.

    whisper-er train --config conf/train.yaml --train_set dump/fold1/train --valid_set dump/fold1/valid \\
        --token_list data/token_list/bpe100_en_asr_gender_emotion/fold1 --exp_dir exp/mini/fold1 \\
        max_steps=100 optim.lr=1e-4

Started again with the same arguments it goes on where it was stopped; where it was killed, from the last state that it
saved, at most save_interval=10 minutes and the time to the next validation before. On several GPUs or machines torchrun
starts it, and the processes share each batch:

    torchrun --standalone --nproc-per-node 4 -m whisper_er.bin.train --ngpu 4 ...
"""

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_er.base import settings
from whisper_er.base.errors import UserError
from whisper_er.base.files import locked, write_text
from whisper_er.bin import make_parser, run
from whisper_er.config import TrainConfig
from whisper_er.data.augment import tables_of
from whisper_er.process import torchrun
from whisper_er.process.memory import TRAINING
from whisper_er.task import Task
from whisper_er.train import experiment

if TYPE_CHECKING:
    import torch

    from whisper_er.data.utterances import Utterances
    from whisper_er.models.base import Model
    from whisper_er.models.losses import LabelCounts
    from whisper_er.text.tokenizer import Tokenizer
    from whisper_er.train.disk import RunSize


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file; its keys are those of TrainConfig")
    parser.add_argument("--train_set", type=Path, required=True, help="dump directory")
    parser.add_argument("--valid_set", type=Path, required=True, help="dump directory that selects models")
    parser.add_argument("--token_list", type=Path, required=True, help="directory that stage 2 wrote")
    parser.add_argument("--exp_dir", type=Path, required=True, help="written here")
    parser.add_argument("--whisper_model", default="", help="hub name or directory; overrides model.whisper_model")
    parser.add_argument("--encoder_model", default="", help="hub name or directory; overrides model.encoder_model")
    parser.add_argument("--ngpu", type=int, default=0, help="GPUs of this machine; 0: the CPU")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    train_model(parser.parse_args())


def train_model(args: argparse.Namespace) -> None:
    config = settings.load(TrainConfig, args.config, args.overrides)
    config.model.whisper_model = args.whisper_model or config.model.whisper_model
    config.model.encoder_model = args.encoder_model or config.model.encoder_model
    inputs = {"train_set": args.train_set, "valid_set": args.valid_set, "token_list": args.token_list}
    tables = tables_of(config.augment) | experiment.kept_weights(config)
    if config.distil.model:
        from whisper_er.retain.distillation import weights_of

        tables |= weights_of(config.distil.model, args.exp_dir.name)
    description = experiment.describe(config, inputs, tables)
    experiment.check_same(args.exp_dir, description)
    if experiment.started(args.exp_dir):
        config.keep_checkpoints |= experiment.keeps_checkpoints(args.exp_dir)
    if not experiment.ended(args.exp_dir):
        train_on(args, config, description)
    elif torchrun.rank() == 0:
        tidy(args.exp_dir, config.keep_checkpoints)


def train_on(args: argparse.Namespace, config: TrainConfig, description: dict[str, Any]) -> None:
    """From what exp_dir has, or from the start. description: what is written there at the start."""
    import torch

    from whisper_er.data.sampling import read_sampling
    from whisper_er.data.utterances import count_labels, read_utterances
    from whisper_er.process import distributed
    from whisper_er.process.device import choose_device
    from whisper_er.text.tokenizer import load_tokenizer
    from whisper_er.train.disk import run_size
    from whisper_er.train.trainer import Trainer

    device = choose_device(args.ngpu)
    distributed.start()
    tokenizer = load_tokenizer(args.token_list)
    soft = {"soft_labels": config.loss.soft_labels, "needs_votes": "mix" not in config.augment}
    train, valid = (
        read_utterances(directory, tokenizer, config.model.long_audio, context=config.context, **soft)
        for directory in (args.train_set, args.valid_set)
    )
    sampling = read_sampling(config.sampling, args.train_set, train.utt_ids)
    torch.manual_seed(config.seed)
    label_counts = count_labels(train, tokenizer.tasks, sampling and sampling.draws_N())
    of_train_set = description["data"]["train_set"]
    of_train_set |= what_is_learned(train, tokenizer, label_counts, config)
    model = make_model(config, tokenizer, label_counts).to(device)
    if config.distil.model:
        from whisper_er.retain.distillation import distil

        if speakers := distil(model, config, args.exp_dir.name, args.train_set, args.valid_set):
            of_train_set["teacher_speakers"] = speakers
    size = run_size(model, config)
    trainer = Trainer(model, tokenizer, config, args.exp_dir, device)
    if config.max_steps:
        check_known(args.valid_set, valid, next(one for one in tokenizer.tasks if one.name == trainer.valid_task))
    print_sets(train, valid, model, device)
    if sampling:
        print(sampling.describe())
    args.exp_dir.mkdir(parents=True, exist_ok=True)
    with locked(args.exp_dir) if distributed.is_main() else nullcontext():
        if ended := distributed.from_main(experiment.ended(args.exp_dir)):  # another run has ended it meanwhile
            print(f"training ended before: {ended}")
            return
        if distributed.is_main():
            write_start(args, config, description, model, size)
        print(f"training ended: {trainer.run(train, valid, sampling)}")


def what_is_learned(
    train: "Utterances", tokenizer: "Tokenizer", label_counts: "LabelCounts", config: TrainConfig
) -> dict[str, Any]:
    """Of data.yaml: the languages of the prefixes, and the prior of the labels."""
    from whisper_er.data.labels import count_languages

    if not config.max_steps:
        return {}
    labels = {task.name: task.labels for task in tokenizer.tasks}
    counts = {name: dict(zip(labels[name], counts)) for name, counts in label_counts.items()}
    if not train.languages or config.model.kind != "seq2seq":  # the other kind reads no prefix
        return {"label_counts": counts}
    return {"languages": count_languages(train.languages, tokenizer), "label_counts": counts}


def make_model(config: TrainConfig, tokenizer: "Tokenizer", label_counts: "LabelCounts") -> "Model":
    from whisper_er.models.build import build_model

    model = build_model(config, tokenizer, label_counts)
    if config.lora.r:
        from whisper_er.adapt.lora import add_lora

        add_lora(model, config)
    return model


def print_sets(train: "Utterances", valid: "Utterances", model: "Model", device: "torch.device") -> None:
    from whisper_er.models.size import rounded, trained_parameters
    from whisper_er.process import distributed

    for task in model.tokenizer.tasks:
        if unlabelled := train.values[task.name].num_empty():
            print(f"{task.name}: {unlabelled} of {len(train)} training utterances have no label or text")
    print(
        f"{len(train)} training and {len(valid)} validation utterances, {rounded(trained_parameters(model))} trained "
        f"parameters, {distributed.world_size()} x {device.type}"
    )


def write_start(
    args: argparse.Namespace, config: TrainConfig, description: dict[str, Any], model: "Model", size: "RunSize"
) -> None:
    """What an experiment has before its first step."""
    from whisper_er.train.disk import warn_of_full_disk

    if experiment.started(args.exp_dir):
        experiment.write_keeping(args.exp_dir, config.keep_checkpoints)
    else:
        experiment.write_description(args.exp_dir, description, args.token_list)
    warn_of_full_disk(args.exp_dir, size)
    write_text(args.exp_dir / "backbone_config.json", model.backbone_config.to_json_string(use_diff=False))


def tidy(exp_dir: Path, keep: bool) -> None:
    """Remove what a training that has ended does not need any more, where a kill or an older version has left it."""
    from whisper_er.train.checkpoints import remove_unneeded

    with locked(exp_dir):
        if (exp_dir / experiment.STATE).is_file() and not keep:
            print(f"{exp_dir}: its training state goes, as keep_checkpoints is false")
        experiment.write_keeping(exp_dir, keep)
        remove_unneeded(exp_dir, experiment.read_best(exp_dir), keep)
    print(f"training ended before: {experiment.ended(exp_dir)}")


def check_known(valid_set: Path, valid: "Utterances", selecting: Task) -> None:
    """UserError where the task that selects the checkpoints is open, and none of its labels there was trained on."""
    if selecting.open and valid.values[selecting.name].num_empty() == len(valid):
        raise UserError(
            f"{valid_set}: '{selecting.name}' selects the checkpoints (valid_task), but training lacks all its labels "
            "of this set; let another task select (--ser_args valid_task=emotion), or validate on known labels "
            "(--valid_split random:0.1)"
        )


if __name__ == "__main__":
    with torchrun.leaving():
        run(main, TRAINING)
