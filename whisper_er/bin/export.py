"""Stage 7: a trained Whisper-ER as a Hugging Face directory.

    whisper-er export --exp_dir exp/mini/fold1 --out_dir exp/mini/fold1/export

transformers' WhisperForConditionalGeneration.from_pretrained opens it. The added tokens stand at the end of its
tokenizer; a vocabulary from SentencePiece has no tokenizer there, so its token list is copied instead.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.utils import logging

from whisper_er import kaldi
from whisper_er.bin import make_parser, run
from whisper_er.errors import UserError
from whisper_er.models.seq2seq import WhisperER
from whisper_er.recognizer import Recognizer
from whisper_er.results import read_result
from whisper_er.tokenizer import Tokenizer, WhisperTokens


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment of stages 3 and 4")
    parser.add_argument("--out_dir", type=Path, required=True, help="written whole or not at all")
    parser.add_argument("--model", default="ave.safetensors", help="weights file in exp_dir")
    args = parser.parse_args()

    logging.disable_progress_bar()
    recognizer = Recognizer.open(args.exp_dir, args.model)
    if not isinstance(recognizer.model, WhisperER):
        raise UserError(f"{args.exp_dir}: transformers has a class for model.kind=seq2seq only; leave stage 7 out")
    with kaldi.replace_dir(args.out_dir, holds="config.json") as directory:
        whisper = to_transformers(recognizer.model)
        whisper.save_pretrained(directory)
        WhisperFeatureExtractor(feature_size=whisper.config.num_mel_bins).save_pretrained(directory)
        shutil.copytree(args.exp_dir / "token_list", directory / "token_list")
        if isinstance(recognizer.tokenizer.text, WhisperTokens):
            save_tokenizer(recognizer.tokenizer, recognizer.tokenizer.text, directory)
        for weights in directory.glob("*.safetensors"):  # made for their owner only
            shutil.copymode(directory / "config.json", weights)
        (directory / "README.md").write_text(model_card(args.exp_dir, recognizer), encoding="utf-8")
    print(f"-> {args.out_dir}")


def to_transformers(model: WhisperER) -> WhisperForConditionalGeneration:
    """The same weights under transformers' names. Its generation config suppresses nothing: our tokens must pass."""
    with torch.device("meta"):
        whisper = WhisperForConditionalGeneration(model.backbone_config)
    whisper.model.encoder, whisper.model.decoder = model.audio_encoder.encoder, model.decoder
    whisper.tie_weights()
    tokenizer = model.tokenizer
    whisper.generation_config = GenerationConfig(
        decoder_start_token_id=tokenizer.prefix[0], eos_token_id=tokenizer.end, pad_token_id=tokenizer.end
    )
    return whisper


def save_tokenizer(tokenizer: Tokenizer, text: WhisperTokens, directory: Path) -> None:
    """Whisper's tokenizer with the tasks' tokens at the ids that they have in the model."""
    hf = text.tokenizer
    # A model may have more embedding rows than its tokenizer has entries.
    hf.add_tokens([f"<|unused:{index}|>" for index in range(len(hf), text.size)], special_tokens=True)
    for task, ids in zip(tokenizer.tasks, tokenizer.task_ids):
        hf.add_tokens(list(task.tokens), special_tokens=True)
        assert hf.convert_tokens_to_ids(list(task.tokens)) == ids
    hf.save_pretrained(directory)


def model_card(exp_dir: Path, recognizer: Recognizer) -> str:
    """What the model is, what it was trained with, and the scores found in the experiment directory."""
    tasks = "\n".join(
        f"- {task.name} ({task.kind}): {' '.join(task.tokens) or 'transcript'}" for task in recognizer.tokenizer.tasks
    )
    scores = [
        f"```json\n// {path.relative_to(exp_dir)}\n{json.dumps(read_result(path)['tasks'], indent=1)}\n```"
        for path in sorted(exp_dir.glob("decode_*/*/score/result.json"))
    ]
    return (
        f"# {exp_dir.resolve().parent.name}\n\nA Whisper-ER model: its decoder writes the tasks below in this order."
        f"\n\n{tasks}\n\nPad rule of the encoder's input: `{recognizer.config.model.pad}`. Prefix ids:"
        f" {recognizer.tokenizer.prefix}.\n\n## Scores\n\n{chr(10).join(scores) or 'none yet: run stage 6 first'}\n"
    )


if __name__ == "__main__":
    run(main)
