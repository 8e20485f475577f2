"""Emotion Diarization Error Rate of the emotions that were found over recordings, in percent of their time.

    whisper-er recognize --model exp/tag/fold1 --format rttm --emotion_every 0.5 recordings/ > found.rttm
    whisper-er eder --ref reference.rttm --hyp found.rttm

Either file: `<recording> <start> <end> <label>` a line, in seconds, or RTTM. Time in no stretch of a file counts as
neutral, such as what recognize takes for silence. A recording ends with its last stretch in the reference, unless
--reco2dur says how long it is.
"""

from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.bin import make_parser, run
from whisper_er.timing.eder import NEUTRAL, count_errors, pooled
from whisper_er.timing.span_tables import read_reference, read_seconds, read_spans


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--ref", type=Path, required=True, help="true stretches; they do not overlap")
    parser.add_argument("--hyp", type=Path, required=True, help="what was found")
    parser.add_argument("--reco2dur", type=Path, help="`<recording> <seconds>` a line (default: the last end in --ref)")
    parser.add_argument("--neutral", default=" ".join(NEUTRAL), help="labels that are no emotion (%(default)s)")
    args = parser.parse_args()
    reference, hypothesis = read_reference(args.ref), read_spans(args.hyp)
    if unknown := sorted(hypothesis.keys() - reference.keys()):
        raise UserError(f"{args.hyp}: {len(unknown)} recordings that {args.ref} lacks: {first_few(unknown)}")
    if silent := sorted(reference.keys() - hypothesis.keys()):
        print(f"{len(silent)} recordings without a line in {args.hyp} count as neutral: {first_few(silent)}")
    ends = {recording: max(span.end for span in spans) for recording, spans in reference.items()}
    durations = read_seconds(args.reco2dur) if args.reco2dur else ends
    if wrong := sorted(name for name, end in ends.items() if not 0 < durations.get(name, 0.0) >= end):
        raise UserError(
            f"{args.reco2dur or args.ref}: no seconds, or fewer than the reference has, of {first_few(wrong)}; give "
            "--reco2dur a line `<recording> <seconds>` for each recording"
        )

    neutral = set(args.neutral.split())
    errors = [
        count_errors(spans, hypothesis.get(recording, []), durations[recording], neutral)
        for recording, spans in reference.items()
    ]
    total, mean = pooled(errors), sum(one.rate for one in errors) / len(errors)
    parts = {name: getattr(total, name) / total.duration for name in ("false_alarm", "missed", "confusion", "overlap")}
    print(f"EDER {100 * total.rate:.1f}: " + " ".join(f"{name}={100 * part:.1f}" for name, part in parts.items()))
    print(f"{len(errors)} recordings of {total.duration:.1f} s; mean of their rates {100 * mean:.1f}")


if __name__ == "__main__":
    run(main)
