"""The transcripts of a pretrained Whisper, as it is, of a corpus that has none: a table for the task asr.

    whisper-er transcribe --data_dir dump/ravdess/all --whisper_model openai/whisper-base --lang en --out text

Whisper's punctuation and case stay. A transcript without an end, or too long to be trained on with labels, is left
empty. Started again with the same options, it goes on where it was stopped. A data directory that has the table as its
text says so in utt2text_source (`utterance whisper-base_zero-shot`), and so does every result then.
"""

import argparse
import time
from pathlib import Path

from whisper_er.base import settings
from whisper_er.bin import make_parser, run
from whisper_er.config import SAMPLE_RATE, DecodeConfig
from whisper_er.data.labels import LANGUAGE
from whisper_er.process.memory import DECODING


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="dump directory")
    parser.add_argument("--whisper_model", required=True, help="hub name or directory")
    parser.add_argument(
        "--out", type=Path, required=True, help="table `utterance words...`, written whole or not at all"
    )
    parser.add_argument(
        "--lang",
        default="en",
        help="of the utterances for which utt2lang names none; auto: of each the likeliest, whatever utt2lang says "
        "(%(default)s)",
    )
    parser.add_argument("--ngpu", type=int, choices=[0, 1], default=0)
    parser.add_argument("--batch_size", type=int, default=16, help="%(default)s")
    parser.add_argument("--beam_size", type=int, default=1, help="1: greedy (%(default)s)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="%(default)s")
    parser.add_argument(
        "--no_repeat_ngram_size",
        type=int,
        default=3,
        help="a transcript that repeats itself is written again, with no run of so many tokens twice; 0: it stays "
        "(%(default)s)",
    )
    transcribe_set(parser.parse_args())


def transcribe_set(args: argparse.Namespace) -> None:
    options = {name: getattr(args, name) for name in ("beam_size", "dtype", "batch_size", "no_repeat_ngram_size")}
    settings.build(DecodeConfig, options, "transcribe")  # before anything is loaded

    from whisper_er.data.utterances import read_utterances
    from whisper_er.process.device import choose_device
    from whisper_er.recognize import transcripts
    from whisper_er.text.vocabulary import DETECT
    from whisper_er.train.experiment import digest

    again = options.pop("no_repeat_ngram_size")
    config = DecodeConfig(suppress="whisper", lang=DETECT if args.lang == DETECT else "", **options)
    recognizer = transcripts.open_whisper(args.whisper_model, args.lang, choose_device(args.ngpu))
    if (args.data_dir / LANGUAGE).is_file() and not recognizer.tokenizer.text.multilingual:
        transcripts.check_english(args.data_dir)
    utterances = read_utterances(
        args.data_dir, recognizer.tokenizer, recognizer.config.model.long_audio, labelled=False
    )
    made_with = {
        "whisper_model": args.whisper_model, "lang": args.lang, "beam_size": args.beam_size, "dtype": args.dtype,
        "no_repeat_ngram_size": again, "room": transcripts.ROOM, "data": digest(args.data_dir),
    }  # fmt: skip
    start = time.monotonic()
    written = transcripts.write_transcripts(recognizer, utterances, config, again, args.out, made_with)
    seconds, audio = time.monotonic() - start, utterances.num_samples_N.sum() / SAMPLE_RATE
    print(f"{len(written)} utterances, {audio:.0f} s of audio in {seconds:.1f} s")
    for line in transcripts.doubts(written):
        print(line)
    print(f"-> {args.out}")


if __name__ == "__main__":
    run(main, DECODING)
