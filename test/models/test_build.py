"""A pretrained Whisper and the vocabulary that is appended to it."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_whisper import EMOTION, GENDER, SIZES, batch_of, logits_of, tasks_of, tiny_model, write_utterances
from transformers import WhisperForConditionalGeneration

from whisper_er.base.errors import UserError
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.models.build import build_model, empty_model, load_whisper
from whisper_er.task import category, scale
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import NoText
from whisper_er.text.whisper_vocabulary import WhisperTokens

MANY_BINS = scale("valence", 0, 1, 401)  # enough rows to estimate a spread


def build(directory, tokenizer, **options):
    torch.manual_seed(3)
    return build_model(TrainConfig(model=ModelConfig(whisper_model=str(directory), **options)), tokenizer)


def stored(directory) -> dict[str, torch.Tensor]:
    """The weights on disk, named as in the model's parts."""
    weights = load_file(directory / "model.safetensors")
    return {name.removeprefix("model."): weight for name, weight in weights.items()}


@pytest.fixture
def tokenizer(whisper_tokens):
    return Tokenizer(whisper_tokens, [*tasks_of("asr gender emotion"), MANY_BINS], "whisper", "en")


@pytest.mark.parametrize("init", ["mean", "words", "random"])
def test_old_rows_of_the_embedding_stay_bit_for_bit(whisper_directory, tokenizer, init):
    table = build(whisper_directory, tokenizer, new_token_init=init).decoder.embed_tokens.weight
    old = stored(whisper_directory)["decoder.embed_tokens.weight"]
    assert len(table) == tokenizer.size == len(old) + 2 + 3 + 401
    assert torch.equal(table[: len(old)], old)


def test_new_rows_are_the_mean_of_the_old_ones(whisper_directory, tokenizer):
    table = build(whisper_directory, tokenizer, new_token_init="mean").decoder.embed_tokens.weight
    old = stored(whisper_directory)["decoder.embed_tokens.weight"]
    new = table[len(old) :]
    torch.testing.assert_close(new, old.mean(0).expand_as(new), atol=1e-6, rtol=0)


def words_of(tokenizer, text: str) -> list[int]:
    return tokenizer.text.tokenizer(f" {text}", add_special_tokens=False).input_ids


def test_new_rows_are_the_mean_of_the_words_that_spell_the_label(whisper_directory, tokenizer):
    table = build(whisper_directory, tokenizer).decoder.embed_tokens.weight  # words is the default
    old = stored(whisper_directory)["decoder.embed_tokens.weight"]
    for task, ids in zip(tokenizer.tasks, tokenizer.task_ids):
        for label, index in zip(task.labels, ids):
            words = words_of(tokenizer, f"valence {label}" if task is MANY_BINS else label)
            torch.testing.assert_close(table[index], old[words].mean(0), atol=1e-6, rtol=0)
    happy, sad = (table[tokenizer.task_ids[2][EMOTION.labels.index(label)]] for label in ("happy", "sad"))
    assert not torch.allclose(happy, sad)


def test_any_label_has_words(whisper_directory, whisper_tokens):
    """Of another language, of many tokens, bins of two scales with the same numbers: a row of its own."""
    tasks = [category("emotion", ["Ärger", "うれしい", "gut-gelaunt", "😀", "3"]), scale("valence", -1, 1, 3),
             scale("arousal", -1, 1, 3)]  # fmt: skip
    tokenizer = Tokenizer(whisper_tokens, tasks, "whisper", "de")
    table = build(whisper_directory, tokenizer).decoder.embed_tokens.weight
    old = stored(whisper_directory)["decoder.embed_tokens.weight"]
    assert len(words_of(tokenizer, "うれしい")) > 4
    torch.testing.assert_close(table[tokenizer.task_ids[1][0]], old[words_of(tokenizer, "valence -1")].mean(0))
    assert table[len(old) :].isfinite().all()
    assert len(table[len(old) :].unique(dim=0)) == 5 + 3 + 3


def test_new_rows_are_drawn_like_the_old_ones(whisper_directory, tokenizer):
    table = build(whisper_directory, tokenizer, new_token_init="random").decoder.embed_tokens.weight.detach()
    old = stored(whisper_directory)["decoder.embed_tokens.weight"]
    standard = (table[len(old) :] - old.mean(0)) / old.std(0)
    assert len(standard.unique(dim=0)) == len(standard)
    assert standard.mean(0).abs().max() < 0.25  # 406 rows: five standard errors
    assert (standard.std(0) - 1).abs().max() < 0.2


def test_everything_but_new_rows_is_what_is_stored(whisper_directory, tokenizer):
    model = build(whisper_directory, tokenizer)
    weights = stored(whisper_directory)
    for name, part in (("encoder", model.audio_encoder.encoder), ("decoder", model.decoder)):
        for key, weight in part.state_dict().items():
            if key != "embed_tokens.weight":
                assert torch.equal(weight, weights[f"{name}.{key}"]), key


def matrices(decoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Not the vectors: a fresh layer norm is what the tiny one's is."""
    return {key: weight for key, weight in decoder.state_dict().items() if weight.dim() == 2}


@pytest.mark.parametrize("what", ["layers", "all"])
def test_a_random_decoder_leaves_the_encoder_as_it_is(whisper_directory, tokenizer, what):
    model = build(whisper_directory, tokenizer, decoder_init=what)
    weights = stored(whisper_directory)
    for key, weight in model.audio_encoder.encoder.state_dict().items():
        assert torch.equal(weight, weights[f"encoder.{key}"]), key
    kept = {"layers": {"embed_tokens.weight", "embed_positions.weight"}, "all": set()}[what]
    found = matrices(model.decoder)
    assert len(found) > 20 and kept < set(found)
    for key, weight in found.items():
        old = weights[f"decoder.{key}"]
        same = weight[: len(old)] == old
        assert same.all() if key in kept else (~same).float().mean() > 0.9, key


def test_the_final_layer_norm_is_redrawn_with_the_layers(whisper_directory, tokenizer, tmp_path):
    trained = WhisperForConditionalGeneration.from_pretrained(whisper_directory)
    torch.nn.init.constant_(trained.model.decoder.layer_norm.weight, 3.0)
    trained.save_pretrained(tmp_path)
    for what, scale_of_norm in (("pretrained", 3.0), ("layers", 1.0), ("all", 1.0)):
        norm = build(tmp_path, tokenizer, decoder_init=what).decoder.layer_norm
        assert (norm.weight == scale_of_norm).all()


@pytest.mark.parametrize("init", ["mean", "words"])
@pytest.mark.parametrize("what", ["layers", "all"])
def test_a_random_decoder_has_random_new_rows_whatever_new_token_init_says(whisper_directory, tokenizer, what, init):
    ours, drawn = (
        build(whisper_directory, tokenizer, decoder_init=what, new_token_init=name).decoder.embed_tokens.weight
        for name in (init, "random")
    )
    assert torch.equal(ours, drawn)
    assert len(ours[tokenizer.text.size :].unique(dim=0)) == 2 + 3 + 401


def test_from_scratch_new_rows_are_random_where_they_are_not_to_be_the_mean(bpe_tokens):
    """No word means anything yet; and a vocabulary without text has none."""
    for tokens, token_type in ((bpe_tokens, "bpe"), (NoText(), "none")):
        tokenizer = Tokenizer(tokens, [EMOTION, scale("valence", 1, 5, 5)], token_type, "en")
        config = TrainConfig(model=ModelConfig(whisper_sizes=SIZES))
        torch.manual_seed(3)
        rows = build_model(config, tokenizer).decoder.embed_tokens.weight[tokens.size :]
        assert len(rows.unique(dim=0)) == 3 + 5
        config.model.new_token_init = "mean"
        rows = build_model(config, tokenizer).decoder.embed_tokens.weight[tokens.size :]
        assert len(rows.unique(dim=0)) == 1


@pytest.mark.parametrize(
    "what, part, complete",
    [
        ("layers", "decoder.layers.0.fc1.weight", True),
        ("layers", "decoder.layer_norm.weight", True),
        ("layers", "decoder.embed_positions.weight", False),
        ("layers", "decoder.embed_tokens.weight", False),
        ("layers", "encoder.conv1.weight", False),
        ("all", "decoder.embed_tokens.weight", True),
        ("all", "encoder.conv1.weight", False),
        ("pretrained", "decoder.layers.0.fc1.weight", False),
    ],
)
def test_what_is_not_redrawn_has_to_be_in_the_checkpoint(whisper_directory, tmp_path, what, part, complete):
    shutil.copytree(whisper_directory, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights[f"model.{part}"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    config = ModelConfig(whisper_model=str(tmp_path), decoder_init=what)
    if complete:
        load_whisper(config)
    else:
        with pytest.raises(UserError, match=f"lacks 1 tensors .*{part}"):
            load_whisper(config)


@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
def test_the_encoders_positions_are_frozen_and_everything_else_is_trained(
    whisper_directory, whisper_tokens, tmp_path, kind
):
    tokenizer = Tokenizer(whisper_tokens, [GENDER], "whisper", "en")
    model = build(whisper_directory, tokenizer, kind=kind)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["audio_encoder.encoder.embed_positions.weight"]
    model(batch_of(write_utterances(tmp_path, [0.3], [{"gender": "male"}]), tokenizer)).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == frozen


def test_weights_stored_as_float16_are_trained_as_float32(whisper_directory, tokenizer, tmp_path):
    WhisperForConditionalGeneration.from_pretrained(whisper_directory).half().save_pretrained(tmp_path)
    assert stored(tmp_path)["encoder.conv1.weight"].dtype == torch.float16
    assert {parameter.dtype for parameter in build(tmp_path, tokenizer).parameters()} == {torch.float32}


def test_a_token_list_of_another_whisper_is_an_error(whisper_directory, whisper_tokens):
    smaller = WhisperTokens(whisper_tokens.tokenizer, whisper_tokens.size - 1, "en")
    with pytest.raises(UserError, match="same whisper_model"):
        build(whisper_directory, Tokenizer(smaller, [GENDER], "whisper", "en"))


def test_a_model_is_made_again_from_its_configuration_and_weights(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")
    model = tiny_model(tokenizer)
    config = TrainConfig(model=ModelConfig(whisper_sizes=SIZES))
    again = empty_model(config, model.backbone_config.to_dict(), tokenizer).eval()
    again.load_state_dict(model.state_dict(), assign=True)
    batch = batch_of(write_utterances(tmp_path, [0.3], [{"emotion": "sad"}]), tokenizer)
    assert torch.equal(logits_of(again, batch), logits_of(model, batch))


def test_an_unknown_size_is_an_error_that_names_it(bpe_tokens):
    with pytest.raises(UserError, match="'d_modell'"):
        tiny_model(Tokenizer(bpe_tokens, [EMOTION], "bpe", "en"), sizes={"d_modell": 8})


def test_a_model_from_nothing_needs_its_sizes(bpe_tokens):
    with pytest.raises(UserError, match="whisper_sizes"):
        build_model(TrainConfig(), Tokenizer(bpe_tokens, [EMOTION], "bpe", "en"))
