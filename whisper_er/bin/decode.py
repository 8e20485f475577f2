"""Stage 5: decode a dump directory with a trained model.

    whisper-er decode --config conf/decode.yaml --exp_dir exp/mini/fold1 --data_dir dump/fold1/test \\
        --out_dir exp/mini/fold1/decode/test beam_size=1

Writes a data directory like the reference (text, utt2<task>, utt2spk), posteriors.jsonl and decode.json. No label of
the data directory is read, unless teacher_forced=true asks for what the answers are given the references before them.
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
    from whisper_er.data.dataset import load, read_utterances
    from whisper_er.process.device import choose_device, reading_processes
    from whisper_er.recognize.recognizer import Recognizer

    config = settings.load(DecodeConfig, args.config, args.overrides)
    recognizer = Recognizer.open(args.exp_dir, args.model, choose_device(args.ngpu))
    if args.allow_shared_speakers == "false":
        check_unseen(args.exp_dir, args.data_dir)
    utterances = read_utterances(
        args.data_dir, recognizer.tokenizer, recognizer.config.model.long_audio, labelled=config.teacher_forced
    )
    recognizer.decoding = config
    plan = recognizer.plan(utterances.num_samples_N)
    processes = reading_processes(config.num_workers, recognizer.device)
    batches = load(utterances, plan, recognizer.tokenizer, recognizer.model.max_target, processes, recognizer.device)
    start = time.monotonic()
    predictions: list[Prediction] = []
    with progress_bar(len(utterances), "utt") as bar:
        for batch_predictions in recognizer.predict(batches, config):
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
    write_hypotheses(args.out_dir, args.data_dir, recognizer.tokenizer.tasks, predictions, protocol)
    print(f"-> {args.out_dir}")


if __name__ == "__main__":
    run(main, DECODING)
