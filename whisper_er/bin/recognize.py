"""Recordings -> transcript, every task's label, probabilities.

    whisper-er recognize --model exp/mini/fold1 talk.wav
    whisper-er recognize --model exp/mini/fold1 --format csv recordings/ > found.csv
    find . -name '*.flac' | whisper-er recognize --model exp/mini/fold1 --format jsonl - > found.jsonl
    whisper-er recognize --model exp/mini/fold1 --format srt --timeline emotion --out_dir subtitles meeting.mp3
    whisper-er recognize --model exp/mini/fold1 --format jsonl --word_times --emotion_every 0.5 talk.wav

Any format that libsndfile reads, any rate, any number of channels (their mean; the loudest alone, with a warning, where
they cancel out or most are dead), any length: over 30 s a recording is split at its pauses. A recording that cannot be
read does not stop the others; it is named at the end, and the exit code is the number of these, at most 99.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.audio.reading import open_audio
from whisper_er.base.errors import UserError, first_few, printable
from whisper_er.base.files import write_text
from whisper_er.bin import add_recognizer_arguments, make_parser, open_recognizer, run
from whisper_er.process.memory import DECODING
from whisper_er.process.progress import progress_bar
from whisper_er.recognize import formats
from whisper_er.recognize.audio_files import AudioFiles, check_distinct, find_audio_files
from whisper_er.recognize.recordings import LONGEST, Recording, check_longest, open_recording
from whisper_er.recognize.result import Recognition
from whisper_er.report.plots import save_timeline
from whisper_er.timing.spans import WINDOW

if TYPE_CHECKING:
    from whisper_er.recognize.recognizer import Recognizer
    from whisper_er.recognize.times import Times

FORMATS = {"text": formats.as_text, "jsonl": formats.as_json, "csv": formats.as_csv, "srt": formats.as_srt,
           "ctm": formats.as_ctm, "rttm": formats.as_rttm}  # fmt: skip
EACH_WORD = "word"  # of --emotion_every
MOST_FAILED = 99  # of the exit code


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "audio",
        nargs="+",
        metavar="AUDIO",
        help="file, directory (with those below), or - for a list of them on standard input, one a line",
    )
    add_recognizer_arguments(parser)
    parser.add_argument("--format", choices=FORMATS, default="text", help="%(default)s")
    parser.add_argument("--out_dir", type=Path, help="write <name>.<format> for each recording here, and timelines")
    parser.add_argument("--timeline", metavar="TASK", help="draw this task's probabilities over each recording as PNG")
    parser.add_argument(
        "--split", choices=["auto", "always", "never"], default="auto", help="at pauses; auto: what is longer than 30 s"
    )
    parser.add_argument(
        "--longest",
        type=float,
        default=LONGEST,
        help="seconds of an utterance of a recording that is split (%(default)s)",
    )
    parser.add_argument(
        "--word_times", action="store_true", help="when each word was spoken, in jsonl; ctm has no more"
    )
    parser.add_argument(
        "--emotion_every",
        default="0",
        metavar="SECONDS",
        help=f"the emotion over time, in jsonl and rttm: every so many seconds, or at each {EACH_WORD} (default: not)",
    )
    parser.add_argument(
        "--emotion_window", type=float, default=WINDOW, help="seconds of audio that such a label is of (%(default)s)"
    )
    # parse_intermixed_args takes options between the files, but not --, behind which a file may begin with -.
    args = parser.parse_args() if "--" in sys.argv else parser.parse_intermixed_args()
    check_longest(args.longest)
    files = find_audio_files(args.audio)
    if args.out_dir:
        check_distinct(files, args.out_dir)
    elif args.timeline or args.format == "srt" and len(files) > 1:
        raise UserError("--timeline, and --format srt of several recordings, make a file for each: give --out_dir DIR")
    elif args.format in ("ctm", "rttm"):
        numbers = Counter(formats.recording_id(str(path)) for path, _ in files)
        if twice := [name for name, number in numbers.items() if number > 1]:
            raise UserError(f"--format {args.format}: several recordings are {first_few(twice)}; give --out_dir DIR")

    recognizer = open_recognizer(args, times=wanted_times(args))
    categories = [task.name for task in recognizer.tokenizer.tasks if task.kind == "category"]
    if args.timeline and args.timeline not in categories:
        raise UserError(f"--timeline {args.timeline}: not a category of the model; allowed: {' '.join(categories)}")
    recognize(recognizer, files, args)


def wanted_times(args: argparse.Namespace) -> "Times":
    """UserError where the format has no place for what is asked for, or lacks what it is made of."""
    at_words = args.emotion_every == EACH_WORD
    try:
        every = 0.0 if at_words else float(args.emotion_every)
    except ValueError:
        raise UserError(f"--emotion_every {args.emotion_every}: give seconds, or '{EACH_WORD}'") from None
    if args.word_times and args.format not in ("jsonl", "ctm"):
        raise UserError(f"--word_times: --format {args.format} has no place for it; allowed: jsonl ctm")
    if (every or at_words) and args.format not in ("jsonl", "rttm"):
        raise UserError(f"--emotion_every: --format {args.format} has no place for it; allowed: jsonl rttm")
    if args.format == "rttm" and not (every or at_words):
        raise UserError(f"--format rttm: the emotion over time; give --emotion_every SECONDS or {EACH_WORD}")
    if args.emotion_window != WINDOW and not (every or at_words):
        raise UserError(f"--emotion_window: of the emotion over time; give --emotion_every SECONDS or {EACH_WORD}")

    from whisper_er.recognize.times import Times

    return Times(args.word_times or args.format == "ctm", every, at_words, args.emotion_window)


def recognize(recognizer: "Recognizer", files: AudioFiles, args: argparse.Namespace) -> None:
    """Write every recognition as soon as it is complete; exits with the number of recordings that could not be read."""
    failed: list[UserError] = []
    names = {str(path): name for path, name in files}  # of the output files

    def readable() -> Iterator[Recording]:
        for path, _ in files:
            try:
                recording = open_recording(path, split=args.split, longest=args.longest)
            except UserError as error:
                failed.append(error)
            else:
                yield recording

    header = formats.csv_header(recognizer.tokenizer.tasks) if args.format == "csv" else ""
    if not args.out_dir:
        print(header, end="", flush=True)
    seconds = 0.0
    with progress_bar(0, "s") as bar:
        if not bar.disable:
            bar.reset(int(total_seconds(files)))

        def advance(done: float) -> None:
            nonlocal seconds
            seconds += done
            bar.update(int(seconds) - bar.n)

        for recognition in recognizer.stream(readable(), advance, failed.append):
            text = FORMATS[args.format](recognition)
            if args.out_dir:
                write(args.out_dir / names[recognition.name], header + text, recognition, args)
            else:
                with bar.external_write_mode():
                    print(text, end="", flush=True)
            for warning in recognition.warnings:
                with bar.external_write_mode():
                    print(f"warning: {printable(recognition.name)}: {warning}", file=sys.stderr)
    for message in failed:
        print(f"error: {message}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(files)} recordings could not be read", file=sys.stderr)
    sys.exit(min(len(failed), MOST_FAILED))


def write(path: Path, text: str, recognition: Recognition, args: argparse.Namespace) -> None:
    """Write the recognition of a recording, and its timeline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path.with_suffix("." + ("txt" if args.format == "text" else args.format)), text)
    if args.timeline:
        save_timeline(recognition, args.timeline, path.with_suffix(".png"))


def total_seconds(files: AudioFiles) -> float:
    """Length of all recordings, from their headers; a file that cannot be read counts 0."""
    seconds = 0.0
    for path, _ in files:
        with suppress(UserError):
            with open_audio(str(path), path.name) as sound:
                seconds += sound.frames / sound.samplerate
    return seconds


if __name__ == "__main__":
    run(main, DECODING)
