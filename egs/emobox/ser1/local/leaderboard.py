"""The corpora of the leaderboard, each a call of systems.sh. Called by leaderboard.sh.

python local/leaderboard.py list      every corpus, system, fold and seed, and how far it is
python local/leaderboard.py count     how many jobs: one per corpus
python local/leaderboard.py run --job 3
python local/leaderboard.py failed    the corpora whose last run did not end well
"""

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from emobox import corpora, find_corpus, fold_dirs, read_fold
from failure import OUR_END
from systems import Call, add_arguments, read_calls, states

from whisper_er.base.errors import UserError, first_few
from whisper_er.bin import run
from whisper_er.task import TEXT_TASK


@dataclass(frozen=True)
class Entry:
    """A corpus. args: as utils/systems.py takes them, with its experiments, folds and systems; all_folds: of EmoBox."""

    corpus: str
    all_folds: list[str]
    calls: list[Call]
    args: argparse.Namespace

    def listed(self, fold: str) -> int:
        """Utterances of EmoBox's test list."""
        directory = fold_dirs(find_corpus(self.args.emobox, self.corpus))[int(fold)]
        return len(read_fold(directory, self.corpus, int(fold), "test"))

    def command(self) -> list[str]:
        """systems.sh on this corpus."""
        args, words = self.args, []
        for option in ("emobox", "transcripts"):
            if value := getattr(args, option):
                words += [f"--{option}", os.path.abspath(value)]
        words += ["--downloads", os.path.abspath(audio_dir(args, self.corpus))]
        words += ["--corpus", self.corpus, "--layout", args.layout]
        return [
            "./systems.sh", "--systems_config", args.systems_config, f"--whisper_model={args.whisper_model}",
            "--systems", args.systems, "--folds", args.folds, "--seeds", args.seeds, "--expdir", args.expdir,
            f"--ser_args={args.ser_args}", f"--inference_args={args.inference_args}",
            f"--run_opts={shlex.join(words)} {args.run_opts}", "--systems_at_once", args.systems_at_once,
            "--paths_from", os.environ.get("paths_from", "."),
        ]  # fmt: skip


def audio_dir(args: argparse.Namespace, corpus: str) -> str:
    """What run.sh calls --downloads: published, it is the directory of the one corpus."""
    return os.path.join(args.downloads, corpus) if args.layout == "published" else args.downloads


def read_entries(args: argparse.Namespace) -> list[Entry]:
    """The corpora of --corpora, or all that have a directory below --downloads."""
    names = list(dict.fromkeys(args.corpora.split()))
    if not names:
        silent = without_audio(args)
        names = [name for name in corpora(args.emobox) if name not in silent]
        if not names:
            raise UserError(
                f"--downloads {args.downloads}: no directory of a corpus there; allowed: {' '.join(silent)}"
            )
    if args.transcripts and not transcribed(args) & set(names):
        raise UserError(
            f"--transcripts {args.transcripts}: no table <corpus>.txt of {first_few(names)} there; name the directory "
            "that has them"
        )
    return [entry for name in names if (entry := read_entry(name, args)).calls]


def transcribed(args: argparse.Namespace) -> set[str]:
    """Names of the tables of --transcripts, each of which should be that of a corpus."""
    return {path.stem for path in Path(args.transcripts).glob("*.txt")} if args.transcripts else set()


def without_audio(args: argparse.Namespace) -> list[str]:
    """Corpora of EmoBox that nobody has named and that --downloads lacks."""
    return [name for name in corpora(args.emobox) if not args.corpora and not Path(args.downloads, name).is_dir()]


def read_entry(corpus: str, args: argparse.Namespace) -> Entry:
    all_folds = [str(number) for number in fold_dirs(find_corpus(args.emobox, corpus))]
    folds = [fold for fold in all_folds if not args.folds or fold in args.folds.split()]
    if not folds:
        raise UserError(f"--folds '{args.folds}': EmoBox has none of them of {corpus}; it has {' '.join(all_folds)}")
    transcripts = Path(args.transcripts, f"{corpus}.txt") if args.transcripts else None
    if transcripts and not transcripts.is_file():
        transcripts = None
    changed = {"folds": " ".join(folds), "expdir": f"{args.expdir}/{corpus}", "transcripts": transcripts}
    own = argparse.Namespace(**vars(args) | changed)
    _, calls = read_calls(own)
    if not args.systems and not transcripts:
        calls = [call for call in calls if TEXT_TASK not in call.trained.tasks.split()]
    own.systems = " ".join(call.name for call in calls)
    return Entry(corpus, all_folds, calls, own)


def failed(entries: list[Entry], expdir: str) -> list[str]:
    """A line for each corpus whose last run did not end well, by the note at the end of its log."""
    lines = []
    for number, entry in enumerate(entries, start=1):
        log = Path(expdir, "leaderboard", "log", f"{number}.log")
        written = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
        ended = OUR_END.match(written[-1]) if written else None
        if ended is None or ended[1] != "0":
            lines.append(f"error: {entry.corpus} failed; log: {log}")
    return lines


def add_corpora(parser: argparse.ArgumentParser) -> None:
    """What the corpora depend on; the table takes the same."""
    add_arguments(parser)
    parser.add_argument("--emobox", type=Path, required=True)
    parser.add_argument("--downloads", required=True, help="has a directory for each corpus")
    parser.add_argument("--transcripts", default="", help="has a table <corpus>.txt for each corpus with transcripts")
    parser.add_argument("--corpora", default="", help="empty: all that --downloads has")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("list", "count", "run", "failed"))
    add_corpora(parser)
    parser.add_argument("--layout", default="emobox")
    parser.add_argument("--ser_args", default="")
    parser.add_argument("--inference_args", default="")
    parser.add_argument("--run_opts", default="")
    parser.add_argument("--systems_at_once", default="1")
    parser.add_argument("--job", type=int, help="which one to run, from 1 on")
    args = parser.parse_args()
    entries = read_entries(args)
    if args.action == "count":
        print(len(entries))
    elif args.action == "run":
        sys.exit(subprocess.run(entries[args.job - 1].command(), check=False).returncode)
    elif args.action == "failed":
        print(*failed(entries, args.expdir), sep="\n")
    else:
        for number, entry in enumerate(entries, start=1):
            print(f"{number} {entry.corpus}", states(entry.calls, entry.args), "", sep="\n")
        if silent := without_audio(args):
            print(f"left out, without a directory in {args.downloads}: {' '.join(silent)}")
        if others := sorted(transcribed(args) - corpora(args.emobox).keys()):
            print(f"{args.transcripts}: tables of no corpus of EmoBox: {' '.join(others)}")


if __name__ == "__main__":
    run(main)
