"""Stage 5: decode a dump directory with a trained model.

    whisper-er decode --config conf/decode.yaml --exp_dir exp/mini/fold1 --data_dir dump/fold1/test \\
        --out_dir exp/mini/fold1/decode/test beam_size=1

Writes a data directory like the reference (text, utt2<task>, utt2spk), posteriors.jsonl and decode.json. No label of
the data directory is read, unless teacher_forced=true asks for what the answers are given the references before them,
or context_from=ref for what they are given those of the turns before.
"""

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path

from whisper_er.base import settings
from whisper_er.base.errors import first_few
from whisper_er.bin import make_parser, run
from whisper_er.config import SAMPLE_RATE, DecodeConfig
from whisper_er.process.memory import DECODING
from whisper_er.process.progress import progress_bar
from whisper_er.score.hypotheses import write_hypotheses
from whisper_er.task import Prediction
from whisper_er.train.experiment import check_unseen


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file; its keys are those of DecodeConfig")
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment of stages 3 and 4")
    parser.add_argument("--data_dir", type=Path, required=True, help="dump directory")
    parser.add_argument("--out_dir", type=Path, required=True, help="hypothesis directory, written whole or not at all")
    parser.add_argument("--model", default="ave.safetensors", help="weights file in exp_dir")
    parser.add_argument("--ngpu", type=int, choices=[0, 1], default=0)
    parser.add_argument(
        "--allow_shared_speakers", choices=["true", "false"], default="false", help="also of the training set"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    decode_set(parser.parse_args())


def decode_set(args: argparse.Namespace) -> None:
    from whisper_er.data.utterances import read_utterances
    from whisper_er.process.device import choose_device, reading_processes
    from whisper_er.recognize.recognizer import Recognizer
    from whisper_er.recognize.turns import predict_all, reads_references

    config = settings.load(DecodeConfig, args.config, args.overrides)
    recognizer = Recognizer.open(args.exp_dir, args.model, choose_device(args.ngpu))
    if args.allow_shared_speakers == "false":
        check_unseen(args.exp_dir, args.data_dir)
    context = recognizer.config.context
    utterances = read_utterances(
        args.data_dir,
        recognizer.tokenizer,
        recognizer.config.model.long_audio,
        labelled=reads_references(recognizer, config),
        context=context,
    )
    processes = reading_processes(config.num_workers, recognizer.device)
    start = time.monotonic()
    predictions: list[Prediction] = []
    with progress_bar(len(utterances), "utt") as bar:
        for batch_predictions in predict_all(recognizer, utterances, config, processes):
            predictions += batch_predictions
            bar.update(len(batch_predictions))
    seconds = time.monotonic() - start
    audio = utterances.num_samples_N.sum() / SAMPLE_RATE
    print(f"{len(predictions)} utterances, {audio:.0f} s of audio in {seconds:.1f} s")
    for warning in sorted({warning for item in predictions for warning in item.warnings}):
        named = sorted(item.utt_id for item in predictions if warning in item.warnings)
        print(f"warning: {len(named)} of {len(predictions)} utterances: {warning}: {first_few(named)}")

    weights = Path(os.path.realpath(args.exp_dir / args.model)).name
    protocol = {"model": weights, **asdict(config)}
    del protocol["batch_seconds"], protocol["graphs"]  # how a GPU is used; nothing that is found depends on them
    if context.turns:
        protocol |= {f"context_{key}": value for key, value in asdict(context).items()}
    else:
        del protocol["context_from"]
    write_hypotheses(args.out_dir, args.data_dir, recognizer.tokenizer.tasks, predictions, protocol)
    print(f"-> {args.out_dir}")


if __name__ == "__main__":
    run(main, DECODING)
