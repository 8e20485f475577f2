"""Whisper-ER: the whole encoder-decoder writes the serialised target (paper, eq. 4-6).

Axes: B utterances, L tokens, T encoder frames, K tasks, V vocabulary.
"""

from collections.abc import Callable, Hashable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from transformers import WhisperModel

from whisper_er.batch import IGNORE, Batch
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.graphs.captured import CaptureFailed
from whisper_er.models.base import Encoded, Model, Output, Stack
from whisper_er.models.decoder import Cross, Past, cross_attention_inputs, decode, use_own_layers
from whisper_er.models.encoder import AudioEncoder, real_frames
from whisper_er.models.losses import LabelCounts, LabelLoss, serial_mtl_loss, with_label_losses
from whisper_er.models.packed_linear import PackedLinear, can_pack
from whisper_er.models.static_decoder import StaticDecoder
from whisper_er.search.beam import SEARCHES, BestHypotheses, Hypothesis
from whisper_er.search.captured_beam import CapturedBeamSearch
from whisper_er.task import Prediction
from whisper_er.text.grammar import GRAMMARS, Grammar, StrictGrammar
from whisper_er.text.repetition import REPEATS, repeats_itself
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import DETECT, NOTHING_SUPPRESSED

CUT = (
    "the text has as many tokens as it may have, and may be cut: raise maxlenratio; where the audio has more text than "
    "the decoder has positions, give shorter utterances"
)


class WhisperER(Model):
    """Whisper with an extended vocabulary. The output layer is the token embedding, as in Whisper.

    It changes the layers of `whisper`: transformers' own forward pass no longer works on it.
    distillation: (batch, logits_NV of its learned positions) -> a further loss of training, nats, summed over the
        utterances (retain/distillation.py); None: there is none.
    """

    distillation: Callable[[Batch, torch.Tensor], torch.Tensor] | None = None

    def __init__(
        self,
        whisper: WhisperModel,
        tokenizer: Tokenizer,
        config: TrainConfig,
        label_counts: LabelCounts | None = None,
    ) -> None:
        super().__init__()
        self.audio_encoder = AudioEncoder(whisper.encoder, config.model)
        self.decoder, self.backbone_config = use_own_layers(whisper.decoder), whisper.config
        self.max_target = whisper.config.max_target_positions
        self.tokenizer, self.normalize_loss = tokenizer, config.normalize_loss
        self.label_loss = LabelLoss(config.loss, tokenizer.tasks, label_counts)
        self.grammar = StrictGrammar(tokenizer)
        self.grammars: dict[tuple[str, str], Grammar] = {("strict", "none"): self.grammar}
        self.searches: dict[Hashable, CapturedBeamSearch] = {}
        self.places: list[int] = []  # of the decoder's weights, when these were made
        self.is_capture_possible = True  # until one fails
        self.output: Callable[[torch.Tensor], torch.Tensor] | None = None  # instead of the product with the token table

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (..., D) -> logits (..., V)."""
        if self.output is not None:
            return self.output(hidden)
        return F.linear(hidden, self.decoder.embed_tokens.weight)

    def pack(self) -> None:
        super().pack()
        if self.output is None and can_pack(self.decoder.embed_tokens.weight):
            self.output = PackedLinear(self.decoder.embed_tokens.weight)

    def use_table(self, table: torch.nn.Module) -> None:
        """Read and write tokens by this module, which has `logits`, in place of the token embedding."""
        self.decoder.embed_tokens, self.output = table, table.logits

    def units(self) -> Iterator[torch.nn.Module]:
        yield from super().units()
        for layer in self.decoder.layers:
            yield layer.encoder_attn.k_proj  # these two are called by cross_attention_inputs, outside of the layer
            yield layer.encoder_attn.v_proj
            yield layer

    def stacks(self) -> dict[str, Stack]:
        """The token table is in none: the rows of the added tokens are always trained, and it is one tensor."""
        decoder = self.decoder
        return super().stacks() | {"decoder": Stack([decoder.embed_positions], decoder.layers, [decoder.layer_norm])}

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        states_BTD, mask_BT = encoded or self.encode(batch)
        cross = cross_attention_inputs(self.decoder, states_BTD, mask_BT)
        hidden_BLD, _ = decode(self.decoder, batch.input_BL, cross)
        logits_NV = self.logits(hidden_BLD.flatten(0, 1)[batch.learned_N])
        loss_B, nll_BK, count_BK = serial_mtl_loss(
            logits_NV,
            batch.target_BL,
            batch.task_BL,
            batch.learned_N,
            len(self.tokenizer.tasks),
            self.normalize_loss,
            partial(self.label_losses, batch) if self.label_loss.changed else None,
            self.label_loss.weight_K,
        )
        loss, nll_K, count_K = loss_B.sum(), nll_BK.sum(0), count_BK.sum(0)
        if self.distillation is not None and self.training:
            term = self.distillation(batch, logits_NV)
            loss, nll_K = loss + term, torch.cat([nll_K, term.detach()[None]])
            count_K = torch.cat([count_K, count_BK.any(1).sum()[None]])
        return Output(loss, nll_K, count_K)

    def label_losses(
        self, batch: Batch, logits_NV: torch.Tensor, learned_N: torch.Tensor, nll_N: torch.Tensor
    ) -> torch.Tensor:
        target_N, task_N = (tensor.flatten()[learned_N] for tensor in (batch.target_BL, batch.task_BL))
        soft_NKC = None if batch.soft_BKC is None else batch.soft_BKC[learned_N // batch.target_BL.shape[1]]
        return with_label_losses(logits_NV, target_N, task_N, nll_N, self.label_loss, self.tokenizer.task_ids, soft_NKC)

    @torch.no_grad()
    def answer(self, batch: Batch, config: DecodeConfig, encoded: Encoded | None = None) -> BestHypotheses:
        states_BTD, mask_BT = encoded or self.encode(batch)
        cross = cross_attention_inputs(self.decoder, states_BTD, mask_BT)
        prefix_BL, left_B = self.prefix(batch, cross, config.lang), padding(batch)
        hidden_BLD, past = decode(self.decoder, prefix_BL, cross, Past(left_R=left_B))
        first_logits_UV, grammar = self.logits(hidden_BLD[:, -1]), self.grammar_for(config).to(prefix_BL.device)
        max_tokens_U = self.max_tokens(batch, config.maxlenratio)
        if self.by_graphs(config, prefix_BL.device):
            search, prefix_mask_BP = self.captured_search(config, grammar), torch.ones_like(prefix_BL, dtype=torch.bool)
            if left_B is not None:
                prefix_mask_BP = torch.arange(prefix_BL.shape[1], device=left_B.device) >= left_B[:, None]
            cache = search.decoder.begin(past, prefix_mask_BP, cross, config.beam_size)
            try:
                return search(first_logits_UV, cache, max_tokens_U)
            except CaptureFailed as error:
                print(f"search: {error}; from here on every kernel of it is launched by itself", flush=True)
            self.release()
            self.is_capture_possible = False
            return self.answer(batch, config, (states_BTD, mask_BT))
        rows_per_utterance = 1

        def step(tokens_BK: torch.Tensor, rows_BK: torch.Tensor) -> torch.Tensor:
            nonlocal cross, past, rows_per_utterance
            running_B = rows_BK[:, 0] // rows_per_utterance
            if len(running_B) < cross.layers[0][0].shape[0]:
                cross = cross.select(running_B)
            past, rows_per_utterance = past.select(rows_BK.flatten()), rows_BK.shape[1]
            hidden_R1D, past = decode(self.decoder, tokens_BK.reshape(-1, 1), cross, past)
            return self.logits(hidden_R1D[:, 0]).view(*tokens_BK.shape, -1)

        return SEARCHES[config.search](first_logits_UV, step, grammar, max_tokens_U, config)

    def by_graphs(self, config: DecodeConfig, device: torch.device) -> bool:
        """Whether the search runs as CUDA graphs: not where n-grams are not written twice, which are looked for in as
        many tokens as there are, nor where the output layer is another one (LoRA in training)."""
        if config.graphs == "off" or device.type != "cuda" or not self.is_capture_possible or self.output is not None:
            return False
        return config.search == "beam" and config.beam_size <= self.tokenizer.size and not config.no_repeat_ngram_size

    def captured_search(self, config: DecodeConfig, grammar: Grammar) -> CapturedBeamSearch:
        """The same object for the same search, so that its graphs are met again, as long as the weights keep their
        places, which graphs know."""
        places = [weight.data_ptr() for weight in self.decoder.parameters()]
        if places != self.places:
            self.release()
            self.places = places
        key = (config.beam_size, config.length_penalty, grammar)
        if key not in self.searches:
            device = self.decoder.embed_tokens.weight.device
            decoder = StaticDecoder(self.decoder)
            self.searches[key] = CapturedBeamSearch(decoder, grammar, config, device, rehearse=device.type != "cuda")
        return self.searches[key]

    def release(self) -> None:
        for search in self.searches.values():
            search.repeated.release()
        self.searches = {}

    @torch.no_grad()
    def given(self, batch: Batch, encoded: Encoded | None = None) -> list[Prediction]:
        """From one forward pass. A category or a scale: the posterior over its own tokens at its place. A text: the
        most probable token, of the whole vocabulary, at each of the places where the reference has one."""
        input_BL, place_BK = references(batch, self.tokenizer, self.max_target)
        cross = cross_attention_inputs(self.decoder, *(encoded or self.encode(batch)))
        hidden_BLD, _ = decode(self.decoder, input_BL, cross)
        rows_N, places_N = batch.learned_N // batch.target_BL.shape[1], batch.learned_N % batch.target_BL.shape[1]
        tokens_BL = batch.target_BL.index_put((rows_N, places_N), self.logits(hidden_BLD[rows_N, places_N]).argmax(-1))
        rows_B1 = torch.arange(len(batch), device=place_BK.device)[:, None]
        logits_BKV = self.logits(hidden_BLD[rows_B1, place_BK]).float()
        predictions = [Prediction(utt_id, {}, {}) for utt_id in batch.utt_ids]
        for k, (task, ids) in enumerate(zip(self.tokenizer.tasks, self.tokenizer.task_ids)):
            if task.kind == "text":
                is_text_BL = (batch.target_BL != IGNORE) & (batch.task_BL == k)
                for prediction, tokens_L, is_text_L in zip(predictions, tokens_BL.cpu(), is_text_BL.cpu()):
                    prediction.values[task.name] = self.tokenizer.decode_text(tokens_L[is_text_L].tolist())
                continue
            for prediction, posterior in zip(predictions, logits_BKV[:, k, ids].softmax(-1).tolist()):
                prediction.posteriors[task.name] = posterior
                prediction.values[task.name] = task.value(posterior, posterior.index(max(posterior)))
        return predictions

    def predict(self, batch: Batch, config: DecodeConfig, encoded: Encoded | None = None) -> list[Prediction]:
        return self.given(batch, encoded) if config.teacher_forced else super().predict(batch, config, encoded)

    def prefix(self, batch: Batch, cross: Cross, language: str) -> torch.Tensor:
        """int64 (B, P): what the decoder reads first. language: as DecodeConfig.lang."""
        if language == DETECT:
            return self.with_likeliest_language(batch, cross)
        return prefixes(batch, self.tokenizer, language)

    def with_likeliest_language(self, batch: Batch, cross: Cross) -> torch.Tensor:
        """int64 (B, P): the prefix of each utterance, with the language that the decoder says first: Whisper learned to
        write its token after <|startoftranscript|>, and fine-tuning does not train that place."""
        ids_C = torch.tensor(self.tokenizer.language_ids(), device=batch.input_BL.device)
        prefix_BL = prefixes(batch, self.tokenizer, "").clone()
        start = prefix_BL.shape[1] - len(self.tokenizer.prefix)
        hidden_BLD, _ = decode(self.decoder, prefix_BL[:, : start + 1], cross, Past(left_R=padding(batch)))
        prefix_BL[:, start + 1] = ids_C[self.logits(hidden_BLD[:, start])[:, ids_C].argmax(1)]
        return prefix_BL

    def read(self, utt_ids: list[str], answers: BestHypotheses, config: DecodeConfig) -> list[Prediction]:
        return [
            to_prediction(self.tokenizer, utt_id, hypothesis, config.posterior, config.decide)
            for utt_id, hypothesis in zip(utt_ids, answers.read(self.tokenizer.end))
        ]

    def grammar_for(self, config: DecodeConfig) -> Grammar:
        key = (config.grammar, config.suppress)
        if key not in self.grammars:
            suppressed = NOTHING_SUPPRESSED if config.suppress == "none" else self.tokenizer.text.suppressed
            self.grammars[key] = GRAMMARS[config.grammar](self.tokenizer, suppressed)
        return self.grammars[key]

    def max_tokens(self, batch: Batch, maxlenratio: float) -> torch.Tensor:
        """int64 (B,), most tokens of each target; on the CPU, as samples_B is."""
        most_B = longest_targets(
            self.grammar, batch.samples_B, maxlenratio, self.max_target - len(self.tokenizer.prefix)
        )
        if batch.context_B is None:
            return most_B
        return most_B.minimum(self.max_target - len(self.tokenizer.prefix) - batch.context_B)


def prefixes(batch: Batch, tokenizer: Tokenizer, language: str) -> torch.Tensor:
    """int64 (B, P): what the decoder reads first. language: of all; "": that of each utterance.

    With what was said before in front; shorter rows have padding on the left, so that all targets start together.
    """
    length, left_B = len(tokenizer.prefix), padding(batch)
    if left_B is None:
        prefix_BL = batch.input_BL[:, :length]
    else:
        place_L = torch.arange(int(batch.context_B.max()) + length, device=left_B.device)
        prefix_BL = batch.input_BL.gather(1, (place_L - left_B[:, None]).clamp(min=0))
    if not language:
        return prefix_BL
    spoken_BL = torch.tensor([tokenizer.prefix_in(language)], device=prefix_BL.device).expand(len(batch), -1)
    return torch.cat([prefix_BL[:, :-length], spoken_BL], dim=1)


def padding(batch: Batch) -> torch.Tensor | None:
    """int64 (B,): tokens of padding on the left of each prefix, on the batch's device; None where nothing was said
    before."""
    if batch.context_B is None:
        return None
    return (batch.context_B.max() - batch.context_B).to(batch.input_BL.device, non_blocking=True)


def references(batch: Batch, tokenizer: Tokenizer, max_target: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the decoder reads of the references, and int64 (B, K): the position from which each task's answer starts.

    The input is the batch's and the last token of the target, behind which a task without a label may stand. Where
    several such tasks end a target, they are all answered there.
    """
    target_BL, is_learned_BL = batch.target_BL, batch.target_BL != IGNORE
    input_BL = F.pad(batch.input_BL, (0, 1), value=tokenizer.end)
    input_BL[:, 1:] = torch.where(is_learned_BL, target_BL, input_BL[:, 1:])
    first_B = torch.full_like(target_BL[:, 0], len(tokenizer.prefix) - 1)  # reads the last token of the prefix
    if batch.context_B is not None:
        first_B = first_B + batch.context_B.to(first_B.device)
    positions_L = torch.arange(target_BL.shape[1], device=target_BL.device)
    last_B = torch.where(is_learned_BL, positions_L + 1, first_B[:, None]).amax(1).clamp(max=max_target - 1)
    place_B, places = first_B, []
    for k, task in enumerate(tokenizer.tasks):
        places.append(place_B.minimum(last_B))
        is_text_BL = is_learned_BL & (batch.task_BL == k) & (target_BL != tokenizer.end)
        place_B = place_B + (is_text_BL.sum(1) if task.kind == "text" else 1)
    return input_BL[:, :max_target], torch.stack(places, dim=1)


def longest_targets(grammar: Grammar, samples_B: torch.Tensor, maxlenratio: float, positions: int) -> torch.Tensor:
    """int64 (B,), most tokens of each target: text in proportion to the real frames, within the positions."""
    return (grammar.shortest + (real_frames(samples_B) * maxlenratio).ceil().long()).clamp(max=positions)


def to_prediction(
    tokenizer: Tokenizer, utt_id: str, hypothesis: Hypothesis, posterior: str, decide: str = "best"
) -> Prediction:
    """What a hypothesis says of each task: its first label, wherever it stands, "" without one; all text tokens.

    posterior: "marginal" or "best". decide: "marginal" takes the most probable label of the posterior where the
    hypothesis has any. The warnings are of the text.
    """
    log_posteriors = hypothesis.marginal if posterior == "marginal" else hypothesis.best
    values, posteriors, warnings = {}, {}, ()
    for k, task in enumerate(tokenizer.tasks):
        if task.kind == "text":
            values[task.name] = tokenizer.decode_text(hypothesis.ids, hypothesis.cut)
            text_ids = [index for index in hypothesis.ids if index < tokenizer.text.num_text]
            found = {CUT: hypothesis.cut, REPEATS: repeats_itself(text_ids)}
            warnings = tuple(warning for warning, is_so in found.items() if is_so)
            continue
        own_ids, probabilities = tokenizer.task_ids[k], log_posteriors[k].exp().tolist()
        label_ids = [index for index in hypothesis.ids if index in own_ids]
        values[task.name] = ""
        if label_ids:
            likeliest = probabilities.index(max(probabilities))
            index = likeliest if decide == "marginal" else own_ids.index(label_ids[0])
            values[task.name] = task.value(probabilities, index)
        posteriors[task.name] = probabilities
    return Prediction(utt_id, values, posteriors, hypothesis.score, warnings)
