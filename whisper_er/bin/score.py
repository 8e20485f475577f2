"""Score a hypothesis directory against its reference, by utterance id.

whisper-er score --ref_dir dump/fold1/test --hyp_dir exp/ser/fold1/decode_beam4/test \\
    --tasks "asr gender emotion" --exp_dir exp/ser/fold1 --out exp/ser/fold1/decode_beam4/test/score/result.json
"""

import argparse
from collections import Counter
from pathlib import Path

from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.data import kaldi
from whisper_er.data.labels import LANGUAGE
from whisper_er.data.text_sources import text_sources
from whisper_er.score import pairing, scoring
from whisper_er.score.hypotheses import read_protocol
from whisper_er.text.conventions import Writing
from whisper_er.text.orthography import read_spelling
from whisper_er.text.token_list import read_token_list
from whisper_er.text.vocabulary import DETECT
from whisper_er.train.experiment import protocol, read_environment, text_protocol, trained_languages


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--ref_dir", type=Path, required=True, help="data directory with the reference tables")
    parser.add_argument("--hyp_dir", type=Path, required=True, help="hypothesis directory that decode wrote")
    parser.add_argument("--tasks", required=True, help='tasks to score, e.g. "asr gender emotion"')
    parser.add_argument("--score_by", default="", help='score apart by utt2<name> of ref_dir as well, e.g. "style"')
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment that the hypotheses come from")
    parser.add_argument("--out", type=Path, required=True, help="result.json to write; utterances.jsonl goes beside it")
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        score(args)


def score(args: argparse.Namespace) -> None:
    token_list = read_token_list(args.exp_dir / "token_list")
    tasks = scoring.choose_tasks(token_list.tasks, args.tasks.split())
    spelling = read_spelling(args.exp_dir / "token_list" / "tokenizer" / "normalizer.json")
    decoding = read_protocol(args.hyp_dir)
    asked = decoding.get("lang", "")  # of the text: decoding may have asked for another than that of the token list
    language = token_list.language if asked in ("", DETECT) else asked
    languages: kaldi.Table = {}  # of utterances, with the prefix of each
    chosen = token_list.multilingual and all(task.table != LANGUAGE for task in token_list.tasks)
    if chosen and asked in ("", DETECT) and (args.ref_dir / LANGUAGE).is_file():
        languages = {utt_id: value or language for utt_id, value in kaldi.read_table(args.ref_dir / LANGUAGE).items()}
    writings = {one: Writing(one, str) for one in {language, *languages.values()}}
    if any(task.kind == "text" for task in tasks):
        from whisper_er.text.normalizer import text_normalizer  # here: it brings transformers

        writings = {one: Writing(one, text_normalizer(one, spelling)) for one in writings}
    by_id = {utt_id: writings[one] for utt_id, one in languages.items()}
    paired = pairing.pair_directories(
        args.ref_dir, args.hyp_dir, tasks, writings[language], args.score_by.split(), by_id
    )
    has_text = any(task.kind == "text" for task in token_list.tasks)
    about = [protocol(args.exp_dir, args.ref_dir), text_protocol(args.exp_dir, args.ref_dir) if has_text else ""]
    if languages and not asked and trained_languages(args.exp_dir):
        counts = sorted(Counter(languages.values()).items())
        about += [f"language prefixes of test: {', '.join(f'{one} {count}' for one, count in counts)} (utt2lang)"]
    result = {
        "ref_dir": str(args.ref_dir),
        "hyp_dir": str(args.hyp_dir),
        "protocol": "; ".join(filter(None, about)),
        "decoding": decoding,
        "training": read_environment(args.exp_dir),
        "text_sources": text_sources(args.ref_dir),
        "text_normalizer": {
            "language": " ".join(sorted(set(languages.values()))) or language,
            "spellings": len(spelling),
        },
        **scoring.score_pairs(tasks, paired).to_json(),
    }
    scoring.write_score(args.out, result, paired)
    print(f"scored {result['num_utterances']} utterances of {args.hyp_dir} -> {args.out}")


if __name__ == "__main__":
    run(main)
