"""Score a hypothesis directory against its reference, by utterance id.

python -m whisper_er.bin.score --ref_dir dump/fold1/test --hyp_dir exp/ser/fold1/decode_beam4/test \\
    --tasks "asr gender emotion" --token_list data/token_list/whisper_asr_gender_emotion/fold1 \\
    --out exp/ser/fold1/decode_beam4/test/score/result.json
"""

import argparse
from pathlib import Path

from whisper_er import scoring
from whisper_er.bin import run
from whisper_er.text_normalizer import read_spelling, text_normalizer
from whisper_er.token_list import read_token_list


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ref_dir", type=Path, required=True, help="data directory with the reference tables")
    parser.add_argument("--hyp_dir", type=Path, required=True, help="hypothesis directory that decode wrote")
    parser.add_argument("--tasks", required=True, help='tasks to score, e.g. "asr gender emotion"')
    parser.add_argument("--token_list", type=Path, required=True, help="directory with token_list.yaml of stage 2")
    parser.add_argument("--out", type=Path, required=True, help="result.json to write; utterances.jsonl goes beside it")
    args = parser.parse_args()

    token_list = read_token_list(args.token_list)
    tasks = scoring.choose_tasks(token_list.tasks, args.tasks.split())
    spelling = read_spelling(args.token_list / "tokenizer" / "normalizer.json")
    normalize = text_normalizer(token_list.language, spelling)
    pairs = scoring.pair_directories(args.ref_dir, args.hyp_dir, tasks, normalize)
    result = {
        "ref_dir": str(args.ref_dir),
        "hyp_dir": str(args.hyp_dir),
        "protocol": scoring.read_protocol(args.hyp_dir),
        "text_normalizer": {"language": token_list.language, "spellings": len(spelling)},
        **scoring.score_pairs(tasks, pairs),
    }
    scoring.write_score(args.out, result, pairs)
    print(f"scored {result['num_utterances']} utterances of {args.hyp_dir} -> {args.out}")


if __name__ == "__main__":
    run(main)
