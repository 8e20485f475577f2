"""Stage 7: a trained Whisper-ER as a Hugging Face directory.

    whisper-er export --exp_dir exp/mini/fold1 --out_dir exp/mini/fold1/export \\
        --data_card conf/data_card.yaml

transformers' WhisperForConditionalGeneration.from_pretrained opens it, and Recognizer. README.md in it is the model's
card; the scores that lie in the experiment are in it, and what the data card says about the corpus.
"""

import argparse
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.base.errors import UserError
from whisper_er.base.files import holding, replace_dir
from whisper_er.bin import make_parser, run
from whisper_er.config import DecodeConfig
from whisper_er.export.data_card import read_data_card

if TYPE_CHECKING:
    from whisper_er.recognize.pretrained import Pretrained


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment of stages 3 and 4")
    parser.add_argument("--out_dir", type=Path, required=True, help="written whole or not at all")
    parser.add_argument("--model", default="ave.safetensors", help="weights file in exp_dir")
    parser.add_argument("--data_card", type=Path, help="YAML: corpus, url, licence, intended_use, limits")
    export(parser.parse_args())


def export(args: argparse.Namespace) -> None:
    from transformers.utils import logging

    from whisper_er.export.model_card import model_card, read_results
    from whisper_er.recognize.pretrained import EXPORTED, open_model
    from whisper_er.train.experiment import trained_languages

    logging.disable_progress_bar()
    if (args.exp_dir / EXPORTED).is_file():
        raise UserError(f"{args.exp_dir}: is exported already; copy it, or give the experiment that it comes from")
    opened = open_model(args.exp_dir, args.model)
    if opened.config.model.kind != "seq2seq":
        raise UserError(f"{args.exp_dir}: transformers has a class for model.kind=seq2seq only; leave stage 7 out")
    results = read_results(args.exp_dir, args.exp_dir / args.model)
    card = model_card(
        name_of(args.exp_dir),
        opened,
        read_data_card(args.data_card),
        results,
        start_of(opened.config.model.whisper_model),
        trained_languages(args.exp_dir),
    )
    with replace_dir(args.out_dir, holding(EXPORTED)) as directory:
        write_model(directory, opened)
        shutil.copytree(args.exp_dir / "token_list", directory / "token_list")
        (directory / "README.md").write_text(card, encoding="utf-8")
    print(f"-> {args.out_dir}")


def write_model(directory: Path, opened: "Pretrained") -> None:
    from transformers import WhisperFeatureExtractor

    from whisper_er.export.hf_tokenizer import to_hf_tokenizer
    from whisper_er.export.to_transformers import to_transformers
    from whisper_er.recognize.pretrained import write_about

    whisper = to_transformers(opened.model, num_beams=DecodeConfig().beam_size)
    whisper.save_pretrained(directory)
    for weights in directory.glob("*.safetensors"):  # save_pretrained lets only their owner read them
        shutil.copymode(directory / "config.json", weights)
    WhisperFeatureExtractor(feature_size=whisper.config.num_mel_bins).save_pretrained(directory)
    to_hf_tokenizer(opened.tokenizer).save_pretrained(directory)
    write_about(directory, opened, "transformers")


def start_of(whisper_model: str) -> str:
    """The model that training started from: a name on the hub, or the last part of a path on this machine."""
    if cached := re.search(r"models--([\w.-]+?)--([\w.-]+)/snapshots/", whisper_model):
        return "/".join(cached.groups())
    on_hub = re.fullmatch(r"\w[\w.-]*/[\w.-]+", whisper_model) and not Path(whisper_model).exists()
    return whisper_model if on_hub else Path(whisper_model).name


def name_of(exp_dir: Path) -> str:
    """Name of an experiment: <tag> of exp/<tag>, and its fold or seed if it has one."""
    path = exp_dir.resolve()
    names = [path.name]
    while re.fullmatch(r"(fold|seed)\w+", names[0]):
        path = path.parent
        names.insert(0, path.name)
    return " ".join(names)


if __name__ == "__main__":
    run(main)
