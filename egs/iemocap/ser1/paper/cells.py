"""The paper's experiments, one cell per system and model, each a call of run.sh. Called by paper.sh.

python paper/cells.py list      every cell, fold and seed, and how far it is
python paper/cells.py count     how many cells
python paper/cells.py prepare   stages 1 and 2 of all
python paper/cells.py run --cell 3
"""

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whisper_er.base.errors import UserError
from whisper_er.bin import run
from whisper_er.report.markdown import table
from whisper_er.train.experiment import fold_state

INFERENCE_TAG = "paper"
HYPOTHESES = Path(f"decode_{INFERENCE_TAG}", "test")  # in the directory of a fold


@dataclass(frozen=True)
class Cell:
    """A system on a model. system, model: their sections of paper/systems.yaml."""

    system_name: str
    model_name: str
    system: dict[str, Any]
    model: dict[str, Any]

    @property
    def tag(self) -> str:
        return f"{self.system_name}_{self.model_name}"

    @property
    def trained(self) -> bool:
        return self.system.get("trained", True)

    def command(self, args: argparse.Namespace, first: int, last: int) -> list[str]:
        """run.sh from one stage to another."""
        ser_args = [*self.model.get("ser_args", ()), *args.ser_args.split()] if self.trained else []
        inference_args = [*self.model.get("inference_args", ()), *args.inference_args.split()]
        return [
            "./run.sh", "--preset", args.preset, "--stage", str(first), "--stop_stage", str(last),
            "--folds", args.folds, "--seeds", args.seeds, "--expdir", args.expdir, "--ser_tag", self.tag,
            "--tasks", self.system["tasks"],
            "--ser_config", self.system["ser_config"], "--ser_args", " ".join(ser_args),
            "--inference_config", self.system.get("inference_config", "conf/decode.yaml"),
            "--inference_args", " ".join(inference_args), "--inference_tag", INFERENCE_TAG,
            *self.model["options"], *(["--iemocap", args.iemocap] if args.iemocap else []),
            "--paths_from", os.environ.get("paths_from", "."), *shlex.split(args.run_opts),
        ]  # fmt: skip

    def seed_dirs(self, args: argparse.Namespace) -> dict[str, Path]:
        """Seed -> its experiment directory; "" where the configuration's seed is the only one."""
        exp_dir = Path(args.expdir, self.tag)
        return {seed: exp_dir / f"seed{seed}" for seed in args.seeds.split()} or {"": exp_dir}


def read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; --paper_config names the systems and models, see paper/systems.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def cells_of(config: dict[str, Any], systems: str, models: str) -> list[Cell]:
    """The cells in the order of the file; systems, models: names to keep, empty for all."""
    chosen = {}
    for what, names in (("systems", systems.split()), ("models", models.split())):
        unknown = [name for name in names if name not in config[what]]
        if unknown:
            raise UserError(f"--{what}: '{unknown[0]}' is not in the paper's file; allowed: {' '.join(config[what])}")
        chosen[what] = {name: own for name, own in config[what].items() if not names or name in names}
    cells = [
        Cell(system_name, model_name, system, model)
        for model_name, model in chosen["models"].items()
        for system_name, system in chosen["systems"].items()
        if system_name in model.get("systems", config["systems"])
    ]
    if not cells:
        raise UserError(f"--systems {systems} --models {models}: no such combination is in the paper's file")
    return cells


def states(cells: list[Cell], args: argparse.Namespace) -> str:
    folds = args.folds.split()
    rows = [["cell", "system", "model", *(["seed"] if args.seeds else []), *(f"fold {fold}" for fold in folds)]]
    for number, cell in enumerate(cells, start=1):
        for seed, exp_dir in cell.seed_dirs(args).items():
            done = [fold_state(exp_dir / f"fold{fold}", HYPOTHESES) for fold in folds]
            rows.append([str(number), cell.system_name, cell.model_name, *([seed] if seed else []), *done])
    return table(rows)


def prepare(cells: list[Cell], args: argparse.Namespace) -> None:
    """Stages 1 and 2, one after the other: cells share the data, and token lists where model and tasks are alike."""
    commands = {(cell.model_name, cell.system["tasks"]): cell.command(args, 1, 2) for cell in cells}
    for command in commands.values():
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(code)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the cells depend on; the report takes the same."""
    parser.add_argument("--paper_config", type=Path, default=Path("paper/systems.yaml"))
    parser.add_argument("--systems", default="", help="names of systems; empty: all")
    parser.add_argument("--models", default="", help="names of models; empty: all")
    parser.add_argument("--folds", default="1 2 3 4 5")
    parser.add_argument("--seeds", default="")
    parser.add_argument("--expdir", default="exp")
    parser.add_argument("--preset", default="", help="a directory of conf, see preset.sh; empty: conf itself")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """How the cells are run."""
    parser.add_argument("--iemocap", default="", help="IEMOCAP_full_release")
    parser.add_argument("--ser_args", default="", help="changes to the training of every trained cell")
    parser.add_argument("--inference_args", default="", help="changes to the decoding of every cell")
    parser.add_argument("--run_opts", default="", help="more options of run.sh, quoted as in a shell")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("list", "count", "prepare", "run"))
    add_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--cell", type=int, help="which one to run, from 1 on")
    args = parser.parse_args()
    cells = cells_of(read_config(args.paper_config), args.systems, args.models)
    if args.action == "list":
        print(states(cells, args))
    elif args.action == "count":
        print(len(cells))
    elif args.action == "prepare":
        prepare(cells, args)
    else:
        command = cells[args.cell - 1].command(args, 3, 6)
        os.execvp(command[0], command)


if __name__ == "__main__":
    run(main)
