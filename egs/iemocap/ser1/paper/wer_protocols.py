"""exp/paper/WER_PROTOCOLS.md: Whisper before fine-tuning, decoded in four ways and scored by every convention.

The paper does not say how it scored the 22.2 of its Table 4; what comes nearest tells. Called by paper.sh.
"""

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cells import INFERENCE_TAG, Cell, add_arguments, add_run_arguments, cells_of, read_config

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.bin import run
from whisper_er.report.markdown import bullets, table
from whisper_er.report.rows import UNDEFINED, number
from whisper_er.score.figure import Values
from whisper_er.score.figures import TextFigures
from whisper_er.score.results import RESULT, collect
from whisper_er.text import conventions

SYSTEM = "zero_shot"
PADS = ("30s", "none")
SUPPRESS = ("whisper", "none")
# The corpus is English, where the published rate is the first one.
CONVENTIONS = {name: one for name, one in conventions.CONVENTIONS.items() if name != "wer_published"}
WORD_ERROR_RATES = [name for name in CONVENTIONS if name != "cer"]
SHOWN = 3  # that come nearest


@dataclass(frozen=True, eq=False)
class Decoding:
    """A model's transcripts of the test sets. With the first pad the model is that of paper.sh's cell."""

    cell: Cell
    pad: str
    suppress: str

    @property
    def ser_tag(self) -> str:
        return self.cell.tag + ("" if self.pad == PADS[0] else f"_pad_{self.pad}")

    @property
    def inference_tag(self) -> str:
        return f"{INFERENCE_TAG}_suppress_{self.suppress}"

    def command(self, args: argparse.Namespace) -> list[str]:
        """The cell's call of run.sh. What comes last wins, over a preset and what the call says itself."""
        command = self.cell.command(args, 1, 6)
        for option, value in (
            ("--ser_args", f"model.pad={self.pad}"),
            ("--inference_args", f"suppress={self.suppress}"),
        ):
            at = command.index(option) + 1
            command[at] = f"{command[at]} {value}".lstrip()
        for option, value in (("--ser_tag", self.ser_tag), ("--inference_tag", self.inference_tag)):
            command[command.index(option) + 1] = value
        return command

    def scores(self, args: argparse.Namespace) -> Values:
        """Of all folds' utterances together; empty while a fold is missing."""
        exp_dir, folds = Path(args.expdir, self.ser_tag), args.folds.split()
        decoded = Path(f"decode_{self.inference_tag}", "test")
        if not all((exp_dir / f"fold{fold}" / decoded / RESULT).is_file() for fold in folds):
            return {}
        (result,) = collect(exp_dir, folds, "test", self.inference_tag)
        return result.pooled.tasks["asr"].values


def render(scored: dict[Decoding, Values], folds: str, command: str) -> str:
    catalogue = TextFigures.catalogue()
    rows = [["model", "pad", "suppress", *(catalogue[name].title for name in CONVENTIONS)]]
    for decoding, values in scored.items():
        rates = [number(values.get(name)) for name in CONVENTIONS]
        rows.append([decoding.cell.model_name, decoding.pad, decoding.suppress, *rates])
    parts = [
        "# Whisper before fine-tuning: how its WER depends on the protocol",
        "Generated, not to be edited, by",
        f"    {command}",
        f"In percent, the utterances of the test folds {folds} together; a dash: not scored. The rest of "
        "decoding is that of decode_zero_shot.yaml.",
        table(rows),
        bullets([f"{catalogue[name].title}: {convention.about}" for name, convention in CONVENTIONS.items()]),
    ]
    for cell in dict.fromkeys(decoding.cell.model_name for decoding in scored):
        parts.append(nearest({one: values for one, values in scored.items() if one.cell.model_name == cell}))
    return "\n\n".join(part for part in parts if part) + "\n"


def nearest(scored: dict[Decoding, Values]) -> str:
    """The protocols of one model that come nearest to the paper's figure; empty where the paper has none."""
    cell = next(iter(scored)).cell
    paper = cell.system["paper"].get(cell.model_name, {}).get("WER")
    if paper is None:
        return ""
    found = [
        (round(100 * values[name] - paper, 1), f"{CONVENTIONS[name].about}, pad {one.pad}, suppress {one.suppress}")
        for one, values in scored.items()
        for name in WORD_ERROR_RATES
        if values.get(name) is not None
    ]
    ranked = sorted(found, key=lambda pair: abs(pair[0]))[:SHOWN]
    lines = [f"{about}: {paper + distance:.1f} ({distance:+.1f})" for distance, about in ranked]
    title = f"## Nearest to the paper's {paper} for {cell.model_name}"
    return f"{title}\n\n{bullets(lines) if lines else UNDEFINED}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("list", "run", "table"), help="commands; run what is missing; table alone")
    add_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--command", required=True, help="the call that leads here")
    args = parser.parse_args()
    for option in ("seeds", "systems"):
        if value := getattr(args, option):
            raise UserError(f"--{option} {value}: --wer_protocols has one system, and nothing is drawn; leave it out")
    cells = cells_of(read_config(args.paper_config), SYSTEM, args.models)
    decodings = [Decoding(cell, pad, suppress) for cell in cells for pad in PADS for suppress in SUPPRESS]
    for decoding in decodings if args.action != "table" else ():
        if args.action == "list":
            print(shlex.join(decoding.command(args)))
        elif code := subprocess.run(decoding.command(args), check=False).returncode:
            sys.exit(code)
    if args.action != "list":
        path = Path(args.expdir, "paper", "WER_PROTOCOLS.md")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = render({decoding: decoding.scores(args) for decoding in decodings}, args.folds, args.command)
        write_text(path, text)
        print(f"{text}\nwritten to {path}")


if __name__ == "__main__":
    run(main)
