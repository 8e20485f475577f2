"""Convert an exported model into a directory that CTranslate2 and our Recognizer open."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from whisper_er.base.errors import UserError
from whisper_er.export.hf_tokenizer import to_hf_tokenizer
from whisper_er.export.to_transformers import to_transformers
from whisper_er.models.seq2seq import WhisperER
from whisper_er.recognize.ctranslate2_engine import import_ctranslate2, prompt_of
from whisper_er.recognize.pretrained import open_model, write_about
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import START

# Name of <|startoftranscript|> where CTranslate2 must not find it; no label holds a space.
HIDDEN_START = "<|start of target|>"


def convert(source: Path, directory: Path, quantization: str) -> None:
    """Convert into an empty directory. source: an exported model, or an experiment; UserError for other models."""
    library = import_ctranslate2()
    opened = open_model(source)  # for this alone: quantising overwrites the weights
    if opened.config.model.kind != "seq2seq" or opened.model.family != "whisper":
        raise UserError(
            f"{source}: CTranslate2 models are made of Whisper-ER ones (model.kind=seq2seq) as trained or "
            "as Hugging Face directory; give one of those"
        )
    spec = specification(opened.model, opened.tokenizer)

    class InMemory(library.converters.Converter):
        def _load(self) -> Any:
            return spec

    InMemory().convert(str(directory), quantization=quantization, force=True)
    shutil.copytree(source / "token_list", directory / "token_list")
    write_about(directory, opened, "ctranslate2")


@torch.no_grad()
def specification(model: WhisperER, tokenizer: Tokenizer) -> Any:
    """CTranslate2's description of the model, with its vocabulary.

    Without <|notimestamps|> in the prefix, the start token is hidden and <|endoftext|> gets its input row: prompt_of.
    """
    from ctranslate2.converters.transformers import WhisperLoader

    whisper = to_transformers(model)
    names = list(to_hf_tokenizer(tokenizer).get_vocab().items())
    if prompt_of(tokenizer) != tokenizer.prefix:
        (start,) = tokenizer.prefix
        names = [(HIDDEN_START if name == START else name, index) for name, index in names]
    vocabulary = SimpleNamespace(get_vocab=lambda: dict(names))
    spec = WhisperLoader()(whisper, vocabulary)
    if prompt_of(tokenizer) != tokenizer.prefix:
        input_rows = whisper.model.decoder.embed_tokens.weight.clone()  # no longer shared with the output layer
        input_rows[tokenizer.end] = input_rows[start]
        spec.decoder.embeddings.weight = input_rows
    return spec
