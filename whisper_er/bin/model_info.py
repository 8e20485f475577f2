"""How many parameters a configuration trains, and how much memory and disk its run takes; no weights are read or drawn.

    whisper-er model_info --config conf/train_serialmtl.yaml --whisper_model openai/whisper-large-v3 \\
        --tasks "asr gender=2 emotion=4"
    whisper-er model_info --exp_dir exp/mini/fold1

Of OpenAI's models the sizes are known here; of others the configuration is read, from a directory or the hub.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.base import settings
from whisper_er.base.errors import UserError
from whisper_er.bin import make_parser, run
from whisper_er.config import ONLY_TRAINING, TrainConfig
from whisper_er.task import TEXT_TASK, Task

if TYPE_CHECKING:
    from whisper_er.models.base import Model


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, help="a trained experiment, instead of the options below")
    parser.add_argument("--config", type=Path, help="YAML file; its keys are those of TrainConfig")
    parser.add_argument("--whisper_model", default="", help="overrides model.whisper_model")
    parser.add_argument("--encoder_model", default="", help="overrides model.encoder_model")
    parser.add_argument("--tasks", default="asr", help='tasks and how many labels each has: "asr gender=2 emotion=4"')
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_args()
    if (args.exp_dir is None) == (args.config is None) or args.exp_dir and args.overrides:
        raise UserError("give --exp_dir, or --config with --tasks")
    if args.exp_dir:
        show(of_experiment(args.exp_dir))
    else:
        show_run(args)


def show(model: "Model") -> None:
    from whisper_er.models.size import count_parameters, rounded, trained_parameters

    print(f"{'':16} {'trained':>15} {'frozen':>13}")
    counts = count_parameters(model)
    for part, size in counts.items():
        print(f"{part:16} {size.trained:15,} {size.frozen:13,}")
    total = trained_parameters(model)
    print(f"{'all':16} {total:15,} {sum(size.frozen for size in counts.values()):13,}")
    print(f"trainable parameters: {rounded(total)}")


def show_run(args: argparse.Namespace) -> None:
    """Of a configuration, and the memory and the disk that its run will take."""
    from whisper_er.step.optimizer import bytes_of, bytes_of_moments
    from whisper_er.train.disk import gigabytes, run_size

    model, config = of_config(args)
    show(model)
    weights, trained = bytes_of(model.parameters()), bytes_of(p for p in model.parameters() if p.requires_grad)
    print(
        f"memory: weights {gigabytes(weights)}, gradients {gigabytes(trained)}, AdamW "
        f"{gigabytes(bytes_of_moments(model, config.optim))} GB, and the activations (tools/benchmark/memory.py)"
    )
    size = run_size(model, config)
    print(f"disk while it trains: at most {size.training}")
    print(f"disk after training:  {size.trained}")
    print(f"disk after averaging: {size.averaged}")


def of_experiment(exp_dir: Path) -> "Model":
    from whisper_er.models.build import BACKBONE, read_empty_model
    from whisper_er.text.tokenizer import load_tokenizer

    if not (exp_dir / BACKBONE).is_file():
        raise UserError(f"{exp_dir / BACKBONE}: no such file; stage 3 writes it")
    config = settings.load(TrainConfig, exp_dir / "config.yaml", leave_out=ONLY_TRAINING)
    return adapted(read_empty_model(config, exp_dir / BACKBONE, load_tokenizer(exp_dir / "token_list")), config)


def of_config(args: argparse.Namespace) -> tuple["Model", TrainConfig]:
    from whisper_er.models.size import backbone_sizes, sized_model

    config = settings.load(TrainConfig, args.config, args.overrides)
    config.model.whisper_model = args.whisper_model or config.model.whisper_model
    config.model.encoder_model = args.encoder_model or config.model.encoder_model
    return adapted(sized_model(config, backbone_sizes(config.model), parse_tasks(args.tasks)), config), config


def adapted(model: "Model", config: TrainConfig) -> "Model":
    """The model with the adapters that a training of it gets."""
    if config.lora.r:
        from whisper_er.adapt.lora import add_lora

        add_lora(model, config)
    return model


def parse_tasks(text: str) -> list[Task]:
    """Read "asr gender=2 emotion=4"."""
    tasks = []
    for item in text.split():
        name, _, number = item.partition("=")
        if name == TEXT_TASK and not number:
            tasks.append(Task(name, "text"))
        elif number.isdecimal() and int(number) > 0:
            tasks.append(Task(name, "category", tuple(f"{name}{i}" for i in range(int(number)))))
        else:
            raise UserError(f"--tasks '{item}': write asr, or a task and how many labels it has, such as emotion=4")
    return tasks


if __name__ == "__main__":
    run(main)
