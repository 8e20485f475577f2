"""Stage 7: an exported model for CTranslate2, checked against the model itself.

    whisper-er export_ctranslate2 --export_dir exp/mini/fold1/export --data_dir dump/fold1/test \\
        --out_dir exp/mini/fold1/export_ctranslate2 --quantization float32

Both decode the data directory; another label for any utterance is an error, and nothing is left behind. check.json and
README.md say what was equal and how fast each was. Recognizer opens the directory, as it opens the exported one.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.base import settings
from whisper_er.base.files import holding, replace_dir
from whisper_er.bin import make_parser, run
from whisper_er.config import DecodeConfig
from whisper_er.process.memory import DECODING

if TYPE_CHECKING:
    from whisper_er.batch import Batch
    from whisper_er.recognize.recognizer import Recognizer

QUANTIZATIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--export_dir", type=Path, required=True, help="what `whisper-er export` wrote")
    parser.add_argument("--out_dir", type=Path, required=True, help="written whole or not at all")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="float32", help="of the weights (%(default)s)")
    parser.add_argument("--data_dir", type=Path, required=True, help="dump directory to decode with both")
    parser.add_argument("--allow_different", type=int, default=0, help="utterances that may get another label (0)")
    parser.add_argument("--config", type=Path, help="YAML file of DecodeConfig, as for decoding; without: its defaults")
    parser.add_argument("--ngpu", type=int, choices=[0, 1], default=0)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    export(parser.parse_args())


def export(args: argparse.Namespace) -> None:
    from whisper_er.export.ctranslate2 import convert
    from whisper_er.export.ctranslate2_card import CARD, read_me
    from whisper_er.export.ctranslate2_check import compare, require_equal
    from whisper_er.process.device import choose_device
    from whisper_er.recognize.pretrained import EXPORTED
    from whisper_er.recognize.recognizer import Recognizer

    config = settings.load(DecodeConfig, args.config, args.overrides) if args.config else DecodeConfig()
    device = choose_device(args.ngpu)
    with replace_dir(args.out_dir, holding(EXPORTED)) as directory:
        convert(args.export_dir, directory, args.quantization)
        ours, theirs = (Recognizer.open(path, device=device) for path in (args.export_dir, directory))
        check = compare(ours, theirs, read_batches(args.data_dir, ours, config), config, args.quantization)
        print(check.table(), check.speed_table(), sep="\n\n")
        require_equal(check, ours.tokenizer.tasks, args.allow_different)
        check.write(directory)
        (directory / "README.md").write_text(read_me(ours.tokenizer, ours.config.model.pad, check), encoding="utf-8")
        if (args.export_dir / "README.md").is_file():
            shutil.copyfile(args.export_dir / "README.md", directory / CARD)
    print(f"-> {args.out_dir}")


def read_batches(data_dir: Path, recognizer: "Recognizer", config: DecodeConfig) -> Iterator["Batch"]:
    """Batches, longest first, read in this process: nothing else is to run while the two are timed."""
    from whisper_er.data.batches import load
    from whisper_er.data.plan import by_length
    from whisper_er.data.utterances import read_utterances

    model, tokenizer = recognizer.model, recognizer.tokenizer
    utterances = read_utterances(data_dir, tokenizer, recognizer.config.model.long_audio, labelled=False)
    plan = by_length(utterances.num_samples_N, config.batch_size)
    return load(utterances, plan, tokenizer, model.max_target, 0, recognizer.device)


if __name__ == "__main__":
    run(main, DECODING)
