"""The systems of conf/systems.yaml, each a call of run.sh. Called by systems.sh in a recipe directory.

python utils/systems.py list      every system, fold and seed, and how far it is
python utils/systems.py count     how many jobs: one per experiment
python utils/systems.py prepare   stages 1 and 2 of all
python utils/systems.py run --job 3
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from whisper_er.base import settings
from whisper_er.base.errors import UserError
from whisper_er.bin import run
from whisper_er.report.markdown import table
from whisper_er.score.results import WHOLE
from whisper_er.train.experiment import fold_state

TEST_SET = "test"
COLUMNS = {"UA": ("emotion", "ua"), "WA": ("emotion", "wa"), "gender": ("gender", "wa"), "WER": ("asr", "wer")}


@dataclass
class System:
    """A section of conf/systems.yaml: options of run.sh, and a line of the table."""

    title: str = ""  # in the table; empty: the name
    of: str = ""  # a system whose models are decoded in this other way; nothing else is trained
    tasks: str = ""
    ser_config: str = "conf/train_serialmtl.yaml"
    ser_args: str = ""
    inference_args: str = ""
    inference_tag: str = "default"
    figures: list[str] = field(default_factory=list)  # columns of the table that it fills; empty: all


@dataclass
class SystemsConfig:
    """conf/systems.yaml."""

    systems: dict[str, System] = field(default_factory=dict)
    folds: str = ""  # empty: ready sets, one training
    baseline: str = "conventional"  # the system that the others are compared with; empty: none
    interval_by: str = "utterance"  # what the bootstrap draws: utterance, or the groups of a table utt2<name>

    def __post_init__(self) -> None:
        decodings: dict[tuple[str, str], str] = {}
        for name, system in self.systems.items():
            other = decodings.setdefault((system.of or name, system.inference_tag), name)
            if other != name:
                raise UserError(
                    f"systems.{name}.inference_tag: '{system.inference_tag}' is that of {other}, which has the same "
                    "models; give each way of decoding a tag of its own"
                )
            if system.of and self.trained(system.of) is None:
                raise UserError(f"systems.{name}.of: '{system.of}' is no system that is trained")
            if not system.of and not system.tasks:
                raise UserError(f"systems.{name}: neither tasks nor of; give the tasks, such as 'asr emotion'")
            for figure in system.figures:
                settings.allow(figure in COLUMNS, f"systems.{name}.figures", figure, " ".join(COLUMNS))
        known = ["", *self.systems]
        settings.allow(self.baseline in known, "baseline", self.baseline, "empty, " + " ".join(self.systems))

    def trained(self, name: str) -> System | None:
        """The system of this name if it has models of its own."""
        system = self.systems.get(name)
        return None if system is None or system.of else system


@dataclass(frozen=True)
class Call:
    """A system on the model of this call. experiment: the system that is trained, itself or the one that it is of."""

    name: str
    system: System
    experiment: str
    trained: System
    model: str

    @property
    def title(self) -> str:
        return self.system.title or self.name

    @property
    def tag(self) -> str:
        return f"{self.experiment}_{self.model}" if self.model else self.experiment

    @property
    def hypotheses(self) -> Path:
        """In the directory of a fold."""
        return Path(f"decode_{self.system.inference_tag}", TEST_SET)

    def exp_dirs(self, args: argparse.Namespace) -> dict[str, Path]:
        """Seed -> experiment directory; "" where the configuration's seed is the only one."""
        exp_dir = Path(args.expdir, self.tag)
        return {seed: exp_dir / f"seed{seed}" for seed in args.seeds.split()} or {"": exp_dir}

    def fold_dirs(self, exp_dir: Path, args: argparse.Namespace) -> dict[str, Path]:
        """Fold -> its directory; the experiment itself where there are no folds."""
        return {fold: exp_dir / f"fold{fold}" for fold in args.folds.split()} or {WHOLE: exp_dir}

    def command(self, args: argparse.Namespace, first: int, last: int) -> list[str]:
        """run.sh from one stage to another."""
        optional = {"--corpus_dir": args.corpus_dir, "--whisper_model": args.whisper_model}
        return [
            "./run.sh", "--stage", str(first), "--stop_stage", str(last), "--folds", args.folds, "--seeds", args.seeds,
            "--expdir", args.expdir, "--ser_tag", self.tag, "--tasks", self.trained.tasks,
            "--ser_config", self.trained.ser_config, f"--ser_args={joined(self.trained.ser_args, args.ser_args)}",
            f"--inference_args={joined(self.system.inference_args, args.inference_args)}",
            "--inference_tag", self.system.inference_tag,
            *(f"{option}={value}" for option, value in optional.items() if value),
            "--paths_from", os.environ.get("paths_from", "."), *shlex.split(args.run_opts),
        ]  # fmt: skip


def joined(*words: str) -> str:
    return " ".join(filter(None, words))


def read_calls(args: argparse.Namespace) -> tuple[SystemsConfig, list[Call]]:
    """The file, and its systems in its order, those of --systems alone if there are any; args gets the folds."""
    config = settings.load(SystemsConfig, args.systems_config)
    names = args.systems.split() or list(config.systems)
    for name in names:
        if name not in config.systems:
            allowed = " ".join(config.systems)
            raise UserError(f"--systems: '{name}' is not in {args.systems_config}; allowed: {allowed}")
    args.folds = args.folds or config.folds
    model = re.sub(r"[^A-Za-z0-9_.=-]", "_", args.whisper_model.rstrip("/").rpartition("/")[2])
    calls = []
    for name, system in config.systems.items():
        if name in names:
            experiment = system.of or name
            calls.append(Call(name, system, experiment, config.systems[experiment], model))
    return config, calls


def jobs_of(calls: list[Call]) -> list[list[Call]]:
    """Calls that share an experiment run one after the other, the one that trains it first."""
    jobs: dict[str, list[Call]] = {}
    for call in sorted(calls, key=lambda call: bool(call.system.of)):
        jobs.setdefault(call.tag, []).append(call)
    return list(jobs.values())


def states(calls: list[Call], args: argparse.Namespace) -> str:
    folds = [f"fold {fold}" for fold in args.folds.split()] or [WHOLE]
    rows = [["job", "system", *(["seed"] if args.seeds else []), *folds]]
    for number, job in enumerate(jobs_of(calls), start=1):
        for call in job:
            for seed, exp_dir in call.exp_dirs(args).items():
                done = [fold_state(path, call.hypotheses) for path in call.fold_dirs(exp_dir, args).values()]
                rows.append([str(number), call.name, *([seed] if seed else []), *done])
    return table(rows)


def run_stages(commands: list[list[str]]) -> None:
    """One after the other, up to the first that fails."""
    for command in commands:
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(code)


def prepare(calls: list[Call], args: argparse.Namespace) -> None:
    """Stages 1 and 2, before anything runs side by side: systems share the data, and token lists by their tasks."""
    run_stages(list({call.trained.tasks: call.command(args, 1, 2) for call in calls}.values()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the systems depend on; the table takes the same."""
    parser.add_argument("--systems_config", type=Path, default=Path("conf/systems.yaml"))
    parser.add_argument("--whisper_model", default="", help="hub name or directory; its last part names experiments")
    parser.add_argument("--systems", default="", help="names of systems; empty: all")
    parser.add_argument("--folds", default="", help="empty: those of the systems' file")
    parser.add_argument("--seeds", default="")
    parser.add_argument("--expdir", default="exp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("list", "count", "prepare", "run"))
    add_arguments(parser)
    parser.add_argument("--corpus_dir", default="", help="the corpus as published")
    parser.add_argument("--ser_args", default="", help="changes to the training of every system")
    parser.add_argument("--inference_args", default="", help="changes to the decoding of every system")
    parser.add_argument("--run_opts", default="", help="more options of run.sh, quoted as in a shell")
    parser.add_argument("--job", type=int, help="which one to run, from 1 on")
    args = parser.parse_args()
    _, calls = read_calls(args)
    if args.action == "list":
        print(states(calls, args))
    elif args.action == "count":
        print(len(jobs_of(calls)))
    elif args.action == "prepare":
        prepare(calls, args)
    else:
        job = jobs_of(calls)[args.job - 1]
        run_stages([call.command(args, 5 if call.system.of else 3, 6) for call in job])


if __name__ == "__main__":
    run(main)
