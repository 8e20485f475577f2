"""Python for the model card: the labels of a file by transformers alone, in the terms of this model's pad rule."""

from whisper_er.config import MAX_SAMPLES
from whisper_er.models.features import HOP, MAX_FRAMES, PadRule
from whisper_er.text.tokenizer import Tokenizer

FRAME = 2 * HOP  # samples of an encoder frame
LOAD = """\
import soundfile
import torch
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

model, tokenizer, extractor = (
    kind.from_pretrained(".") for kind in (WhisperForConditionalGeneration, AutoTokenizer, WhisperFeatureExtractor)
)
wave, rate = soundfile.read("a.wav", dtype="float32")  # 16 kHz, one channel, at most 30 s
"""
CUT = """\
model.config.max_source_positions = frames = min({most}, -(-{length} // {frame}))
model.model.encoder.embed_positions = torch.nn.Embedding.from_pretrained(
    model.model.encoder.embed_positions.weight[:frames]
)
"""
FEATURES = 'extractor(wave, sampling_rate=rate, return_tensors="pt").input_features'


def plain_snippet(tokenizer: Tokenizer, pad: PadRule) -> str:
    """Run in the exported directory, it prints the transcript, where there is one, and the tokens of the labels.

    transformers' encoder takes 30 s and nothing else; what it takes for 30 s is cut to the frames of the pad rule.
    """
    cut = pad.least < MAX_SAMPLES
    if cut:
        code = LOAD + CUT.format(most=MAX_FRAMES // 2, length=padded_length(pad), frame=FRAME)
    else:
        code = LOAD.replace("import torch\n", "")
    code += f"ids = model.generate({FEATURES}{'[..., : 2 * frames]' if cut else ''})[0]\n"
    if any(task.kind == "text" for task in tokenizer.tasks):
        code += 'print(" ".join(tokenizer.decode(ids, skip_special_tokens=True).split()))\n'
    return code + f"print(*tokenizer.convert_ids_to_tokens(ids[ids >= {tokenizer.text.size}]))\n"


def padded_length(pad: PadRule) -> str:
    """Samples after padding, as an expression of `wave`."""
    if pad.extra:
        return f"(len(wave) + {pad.extra})"
    return f"max(len(wave), {pad.least})" if pad.least else "len(wave)"
