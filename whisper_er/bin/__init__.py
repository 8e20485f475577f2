"""Entry points: one file each, argparse -> one call. `whisper-er NAME`, which whisper_er/__main__.py finds, is
`python -m whisper_er.bin.NAME`.

Options are read before anything heavy is loaded: torch takes one second to import and transformers' models three, five
to ten on a busy machine. So what brings them is imported in the functions that do the work, at their top, and stands
under TYPE_CHECKING where only a type is meant. At the top of the file is what loads at once.
"""

import argparse
import codecs
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_er.base.errors import UserError
from whisper_er.config import DecodeConfig
from whisper_er.process.memory import ANYTHING, out_of_memory
from whisper_er.process.stop import Stopped

if TYPE_CHECKING:
    from whisper_er.recognize.recognizer import Recognizer

MODEL = "WHISPER_ER_MODEL"  # environment variable: the default of --model


def make_parser(description: str) -> argparse.ArgumentParser:
    """The parser of an entry point, whose docstring is its help."""
    name = f"whisper-er {Path(sys.argv[0]).stem}"
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(name, description=description, formatter_class=raw, allow_abbrev=False)


def add_folds_argument(parser: argparse.ArgumentParser) -> None:
    """--folds, of an entry point that loads once for all of them."""
    what = 'do this for each fold, e.g. "1 2 3"; JOB in the other options stands for its number'
    parser.add_argument("--folds", default="", help=what)


def of_each_fold(args: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """The options of each fold, with its number for JOB in words and paths; without --folds as they are."""
    folds = args.folds.split()
    if not folds:
        yield args
    elif not any("JOB" in str(value) for value in vars(args).values()):
        raise UserError(
            f"--folds {args.folds}: write JOB for the fold in the other options, such as dump/foldJOB/train"
        )
    for fold in folds:
        yield argparse.Namespace(**{name: numbered(value, fold) for name, value in vars(args).items()})


def numbered(value: Any, fold: str) -> Any:
    if isinstance(value, list):
        return [numbered(item, fold) for item in value]
    return type(value)(str(value).replace("JOB", fold)) if isinstance(value, str | Path) else value


def add_recognizer_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every entry point that works with one trained model."""
    parser.add_argument(
        "--model",
        default=os.environ.get(MODEL, ""),
        help=f"experiment directory, what stage 7 exported, or a name on the hub (default: the variable {MODEL})",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (%(default)s)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="%(default)s")
    parser.add_argument("--beam_size", type=int, default=4, help="%(default)s")
    parser.add_argument("--batch_size", type=int, default=8, help="%(default)s")
    parser.add_argument(
        "--maxlenratio",
        type=float,
        default=DecodeConfig.maxlenratio,
        help="most tokens of text per 20 ms of audio (%(default)s)",
    )
    parser.add_argument(
        "--no_repeat_ngram_size",
        type=int,
        default=DecodeConfig.no_repeat_ngram_size,
        help="so many tokens of text in a row are not written twice; 0: they may be (%(default)s)",
    )
    parser.add_argument(
        "--language", default="", help="of the speech, such as de; auto: the likeliest (default: that of the training)"
    )
    parser.add_argument(
        "--decide",
        choices=["best", "marginal"],
        default=DecodeConfig.decide,
        help="labels: those of the best hypothesis, or the most probable over the beam (%(default)s)",
    )
    parser.add_argument("--calibrate", action="store_true", help="probabilities by the temperatures of calibrate")
    parser.add_argument(
        "--prior_correction",
        type=float,
        default=DecodeConfig.prior_correction,
        help="times the log prior of the training that probabilities are freed of; 1: all of it (%(default)s)",
    )


def open_recognizer(args: argparse.Namespace, **more: Any) -> "Recognizer":
    """The model that add_recognizer_arguments asked for; more: arguments of from_pretrained."""
    from whisper_er.recognize.recognizer import Recognizer

    if not args.model:
        raise UserError(f"no model: give --model DIR, or set {MODEL}")
    names = ("device", "dtype", "beam_size", "batch_size", "maxlenratio", "no_repeat_ngram_size", "language", "decide",
             "calibrate", "prior_correction")  # fmt: skip
    return Recognizer.from_pretrained(args.model, **{name: getattr(args, name) for name in names}, **more)


def run(main: Callable[[], None], memory_advice: str = ANYTHING) -> None:
    """Call an entry point; an error that the user can mend is one line and exit 1, a defect keeps its traceback.

    memory_advice: what the user can do where memory does not suffice.
    A program that a signal stopped exits with 128 + its number: a scheduler must not take it for finished.
    """
    try:
        print_any_character()
        check_arguments()
        main()
    except Stopped as stopped:
        print(stopped, flush=True)
        sys.exit(128 + stopped.number)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader, such as `head`, has ended; the rest of the buffer is dropped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        mendable = out_of_memory(error, memory_advice) or (error if isinstance(error, UserError | OSError) else None)
        if mendable is None:
            raise
        sys.exit(f"error: {mendable}")


def print_any_character() -> None:
    """A character that the terminal's encoding lacks is printed as JSON escapes it, so lines of JSON stay JSON."""
    codecs.register_error("json", lambda error: (json.dumps(error.object[error.start : error.end])[1:-1], error.end))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="json")


def check_arguments() -> None:
    """UserError for an argument that is not UTF-8: it could be neither printed nor written into a description."""
    for word in sys.argv:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(f"the argument '{word}' is not UTF-8; rename what it names") from None
