"""Audio files and a CSV with a row for each -> a data directory; local/data.sh of a new corpus calls it.

    whisper-er csv_to_data --csv labels.csv --audio_dir wav --out_dir data/all --num_folds 5 \\
        wav.scp=file utt2spk=speaker text=transcript utt2emotion=emotion utt2gender="gender (m/f)"

TABLE=COLUMN: which column of the CSV each table of the data directory comes from. The column of wav.scp names the
files, in --audio_dir or below it; utterance ids are these names. An empty cell is a missing label or transcript; white
space in a label becomes _. Columns that are not named are left out.

Folds: --num_folds makes them, alike in size and labels; where the corpus has its own, numbered from 1, it is
utt2fold=COLUMN instead. For a CSV with ready sets, call it once for each: --only split=train --out_dir data/train.
"""

import argparse
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.bin import make_parser, run
from whisper_er.corpora import csv_corpus
from whisper_er.corpora.folds import assign_folds
from whisper_er.data.kaldi import TABLE_NAME, write_dir
from whisper_er.task import NAME


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("columns", nargs="+", metavar="TABLE=COLUMN", help="wav.scp and utt2spk have to be among them")
    parser.add_argument("--csv", type=Path, required=True, help="with a header; separated by , or ; or tab")
    parser.add_argument("--audio_dir", type=Path, required=True)
    parser.add_argument("--out_dir", type=Path, required=True, help="data directory to write")
    parser.add_argument("--num_folds", type=int, default=0, help="make utt2fold with so many")
    parser.add_argument(
        "--fold_by",
        choices=["speaker", "utterance"],
        default="speaker",
        help="what stays together in one fold; utterance: every speaker is in all of them (%(default)s)",
    )
    parser.add_argument("--only", default="", metavar="COLUMN=VALUE", help="only the rows with this value")
    parser.add_argument("--encoding", default="utf-8", help="of the CSV, such as cp1252 (%(default)s)")
    args = parser.parse_args()
    columns = parse_columns(args)
    only, _, value = args.only.partition("=")
    if args.only and not only:
        raise UserError(f"--only '{args.only}': names no column; expected COLUMN=VALUE")
    rows = csv_corpus.read_rows(args.csv, [*columns.values(), *([only] if only else [])], args.encoding)
    selected = [row for row in rows if not only or row.cells[only] == value]
    if not selected:
        raise UserError(
            f"--only '{args.only}': no row of {args.csv} has this; column {only} holds "
            f"{first_few(sorted({row.cells[only] for row in rows}))}"
        )
    data = csv_corpus.tables(args.csv, selected, args.audio_dir, columns)
    if args.num_folds:
        data["utt2fold"] = assign_folds(data, args.num_folds, args.fold_by)
    write_dir(args.out_dir, data)
    print(f"{args.csv} + {args.audio_dir} -> {args.out_dir}: {len(selected)} utterances")
    print(*csv_corpus.report(data), sep="\n")
    if len(selected) < len(rows):
        print(f"  left out, not {args.only}: {len(rows) - len(selected)} row(s)")
    if not only and (others := csv_corpus.unlisted(args.audio_dir, data)):
        print(f"  left out, not in the CSV: {len(others)} audio file(s): {first_few(others)}")


def parse_columns(args: argparse.Namespace) -> dict[str, str]:
    """TABLE=COLUMN arguments as table -> column."""
    columns = {}
    for item in args.columns:
        table, equals, column = (part.strip() for part in item.partition("="))
        if not TABLE_NAME.fullmatch(table) or table == "segments" or not NAME.fullmatch(table.replace(".", "")):
            raise UserError(
                f"'{item}': '{table}' is no table; allowed: wav.scp text utt2spk utt2fold utt2<task>, "
                "such as utt2emotion"
            )
        if not equals or not column or table in columns:
            raise UserError(f"'{item}': expected TABLE=COLUMN, each table once, such as utt2emotion=emotion")
        columns[table] = column
    if "utt2fold" in columns and args.num_folds:
        raise UserError(f"utt2fold={columns['utt2fold']} and --num_folds are both given; choose one")
    return columns


if __name__ == "__main__":
    run(main)
