"""LoRA (Hu et al., 2022, through peft): two small matrices beside a linear layer are trained in place of its weight.

The layer's output becomes W x + alpha / r B A x, with A (r, in) and B (out, r). B starts at 0: at first the model is
the pretrained one. The rows of the added tokens and the heads of the conventional method are trained as they are.
"""

import torch
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from whisper_er.adapt.added_rows import AddedRows
from whisper_er.base.errors import UserError
from whisper_er.config import TrainConfig
from whisper_er.models.base import Model
from whisper_er.models.seq2seq import WhisperER

BACKBONE = ("audio_encoder.", "decoder.")  # begin the names of what is pretrained


def add_lora(model: Model, config: TrainConfig) -> None:
    """Freeze what is pretrained and put adapters beside the layers that config.lora.where names, but none in what
    `freeze` names. A is drawn from torch's global generator. UserError for options that do not fit."""
    if not (config.model.whisper_model or config.model.encoder_model):
        raise UserError("lora.r: there are no pretrained weights to keep; give model.whisper_model, or set lora.r=0")
    names = layers_to_adapt(model, config.lora.where)
    peft = import_peft()
    heads = [weight for name, weight in model.named_parameters() if not name.startswith(BACKBONE)]
    adapters = peft.LoraConfig(r=config.lora.r, lora_alpha=config.lora.alpha, target_modules=names)
    peft.inject_adapter_in_model(adapters, model)
    for weight in heads:
        weight.requires_grad_(True)
    if isinstance(model, WhisperER):
        model.use_table(AddedRows(model.decoder.embed_tokens, model.tokenizer.text.size))
    model.saves_trained_only = True


def layers_to_adapt(model: Model, where: list[str]) -> list[str]:
    """Whole names of the linear layers that have one of these last names. UserError where one of them names none."""
    unfit = {inner for module in model.modules() if isinstance(module, WavLMAttention) for inner in module.modules()}
    layers = {module for stack in model.stacks().values() for layer in stack.layers for module in layer.modules()}
    found: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        # Without a gradient: what `freeze` names, and layers that are not read (model.layers).
        if isinstance(module, torch.nn.Linear) and module.weight.requires_grad and module in layers - unfit:
            found.setdefault(name.rpartition(".")[2], []).append(name)
    for word in where:
        if word not in found:
            allowed = f"allowed: {' '.join(found)}" if found else "everything is frozen: take a part out of freeze"
            raise UserError(
                f"lora.where: this {model.family} model has no linear layers '{word[:40]}' to adapt; {allowed}"
            )
    return [name for word in where for name in found[word]]


def import_peft():
    """The package peft, which takes seconds to import. UserError where it is not installed."""
    try:
        import peft
    except ImportError as error:
        raise UserError(
            f"lora.r: needs peft ({error}); install the extra 'lora': pip install whisper_er[lora]"
        ) from None
    return peft
