"""Every setting, with its default and meaning: of training and of decoding. base/settings.py reads and writes them."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from whisper_er.base.settings import MOST, allow, at_least, between, named

SAMPLE_RATE = 16000  # Hz, of everything after stage 1
MAX_SECONDS = 30  # of an utterance: Whisper's encoder has positions for no more
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
PAD_RULE = re.compile(r"none|30s|(\+|to )(\d+(?:\.\d+)?)")  # seconds, of MAX_SECONDS at most


@dataclass
class SpecAugmentConfig:
    """Masks on the log-mel features in training; no masks, no augmentation."""

    time_masks: int = 0
    time_width: float = 0.05  # longest time mask, as a share of the utterance's frames
    freq_masks: int = 0
    freq_width: int = 10  # widest frequency mask, in mel bins

    def __post_init__(self) -> None:
        at_least(0, self, "freq_width")
        between(0, 1000, self, "time_masks", "freq_masks")
        between(0, 1, self, "time_width")


@dataclass
class ModelConfig:
    """The model: its kind, its weights before training, its input."""

    kind: Literal["seq2seq", "encoder_classifier"] = "seq2seq"  # Whisper-ER | the conventional method
    whisper_model: str = ""  # hub name or directory of pretrained weights; empty: from scratch with the sizes below
    encoder_model: str = ""  # instead: wav2vec 2.0, HuBERT or WavLM for encoder_classifier, hub name or directory
    # transformers' WhisperConfig, from scratch only
    whisper_sizes: dict[str, int | float | bool | str] = field(default_factory=dict)
    # what is redrawn before training (Table 5 of the paper): nothing | the decoder's layers | all of the decoder, with
    # embedding and positions; the rows of the added tokens are then random, whatever new_token_init says
    decoder_init: Literal["pretrained", "layers", "all"] = "pretrained"
    # rows of the added tokens: mean of all | of those of the label's words; from scratch, where no word means anything,
    # random | random
    new_token_init: Literal["mean", "words", "random"] = "words"
    pad: str = "none"  # encoder input per utterance: none | +<seconds> | to <seconds> | 30s
    train_pad: dict[str, float] = field(default_factory=dict)  # pad -> share of the training batches; empty: all by pad
    pool: str = named("real", "models.pooling.POOLINGS")  # of encoder_classifier: real | all | attentive
    # of encoder_classifier, what is pooled: the last layer | a sum of all layers and of the first one's input, by
    # learned weights, which `whisper-er info` shows | numbers of layers, such as [4, 8, 12]: the output of each is
    # pooled by itself, and the vectors are concatenated; 0 is the input of the first. With head_width the frames are.
    # SSL encoders then leave out no layers (layerdrop), but for last
    layers: str | list[int] = "last"
    head_width: int = 0  # of encoder_classifier: of a linear layer with ReLU on every frame before the pooling; 0: none
    long_audio: Literal["error", "truncate"] = "error"  # what to do with an utterance over 30 s
    specaug: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)

    def __post_init__(self) -> None:
        pools = self.kind == "encoder_classifier"
        allow(pools or self.pool == "real", "pool", self.pool, "real with model.kind=seq2seq, which pools nothing")
        numbers = self.layers if isinstance(self.layers, list) else []
        once = 0 < len(set(numbers)) == len(numbers) and 0 <= min(numbers) and max(numbers) <= 1000
        fine = self.layers in ("last", "weighted") or once
        allow(fine, "layers", self.layers, "last, weighted, or numbers of layers, each once, such as [4, 8, 12]")
        allow(pools or self.layers == "last", "layers", self.layers, "last with model.kind=seq2seq")
        allow(pools or self.head_width == 0, "head_width", self.head_width, "0 with model.kind=seq2seq")
        between(0, 100_000, self, "head_width")
        for pad, share in self.train_pad.items():
            allow(share > 0, f"train_pad.{pad}", share, "shares above 0")
        total = sum(self.train_pad.values())
        allow(not self.train_pad or abs(total - 1) < 1e-6, "train_pad", f"a sum of {total:g}", "shares that sum to 1")
        for key, value in self.whisper_sizes.items():  # a billion layers would fill the memory
            most = 1000 if key.endswith("layers") or key == "num_mel_bins" else 1_000_000
            fine = isinstance(value, str) or abs(value) <= most
            allow(fine, f"whisper_sizes.{key}", value, f"at most {most}")


@dataclass
class LossConfig:
    """In both methods, of categories and scales; task_weights of all tasks. Texts keep the cross-entropy. The defaults
    are the paper's.

    The loss of the validation is this one as well; what is logged per task is the cross-entropy.
    """

    category: str = named("cross_entropy", "models.losses.CATEGORY_LOSSES")  # cross_entropy | focal
    focal_gamma: float = 2.0  # of focal: the larger, the less a correct prediction counts
    label_smoothing: float = 0.0  # share of a target that is divided among all labels of the task
    class_weights: str = named(
        "none", "models.losses.CLASS_WEIGHTS"
    )  # none | inverse | effective, from the labels that an epoch draws; with soft_labels as well, not from the votes
    effective_beta: float = 0.999  # of effective: 0 is no weights, towards 1 it becomes inverse
    # categories whose target is the annotators' distribution, from utt2<task>_votes of the training and validation sets
    # (with augment.mix these may be missing), and what augment.mix makes of two utterances
    soft_labels: list[str] = field(default_factory=list)
    # of scales: cross_entropy of the bin | ccc: 1 - CCC of the batch, in place of which bin it is | ordinal: the
    # cross-entropy of a target that near bins share
    scale: str = named("cross_entropy", "models.losses.SCALE_LOSSES")
    ordinal_width: float = 1.0  # of ordinal, in bins: where a bin's share has fallen to 1/e of the label's
    # task -> factor on its loss, after the division by its length; 1 for the others; 0: written, and not learned
    task_weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        allow(0 <= self.label_smoothing <= 1, "label_smoothing", self.label_smoothing, "0 to 1")
        allow(0 <= self.focal_gamma <= 100, "focal_gamma", self.focal_gamma, "0 to 100")
        allow(0 <= self.effective_beta < 1, "effective_beta", self.effective_beta, "0 and more, below 1")
        allow(0.01 <= self.ordinal_width <= 1000, "ordinal_width", self.ordinal_width, "0.01 to 1000 bins")
        for task, weight in self.task_weights.items():
            allow(0 <= weight <= 1000, f"task_weights.{task}", weight, "0 to 1000")


@dataclass
class DistilConfig:
    """A frozen teacher that holds the text of the first task near its own (retain/distillation.py); in training alone:
    the loss of the validation is without it."""

    # empty: none | pretrained: what training starts from | hub name or directory of a Whisper | a trained model of
    # ours, exp/<tag>/fold<k>, or exp/<tag>, of which each fold takes the fold of its own name
    model: str = ""
    weight: float = 1.0  # loss = that of the tasks + weight x temperature^2 x KL(teacher || student), nats per token
    temperature: float = 1.0  # divides the logits of both: above 1 unlikely tokens count more
    pad: str = ""  # of the teacher's audio, as model.pad; empty: to 10, or what a model of ours was trained with

    def __post_init__(self) -> None:
        allow(0 < self.weight <= 1000, "weight", self.weight, "above 0, at most 1000")
        allow(0.01 <= self.temperature <= 100, "temperature", self.temperature, "0.01 to 100")
        allow(not self.pad or PAD_RULE.fullmatch(self.pad), "pad", self.pad, "none, +<seconds>, to <seconds>, 30s")


@dataclass
class LoraConfig:
    """Low-rank adapters that are trained in place of the pretrained weights, in both methods (adapt/lora.py)."""

    r: int = 0  # rank of an adapter; 0: none, the weights themselves are trained
    alpha: float = 16.0  # what an adapter adds is multiplied by alpha / r
    # linear layers that get one, in every layer of encoder and decoder: Whisper's are q_proj k_proj v_proj out_proj fc1
    # fc2. What `freeze` names gets none.
    where: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])

    def __post_init__(self) -> None:
        between(0, 1000, self, "r")
        allow(0 < self.alpha <= 1000, "alpha", self.alpha, "above 0, at most 1000")
        allow(bool(self.where), "where", self.where, "names of linear layers, such as q_proj and v_proj")
        allow(len(self.where) == len({*self.where}), "where", self.where, "each name once")


@dataclass
class OptimConfig:
    """AdamW and a schedule of the learning rate. The defaults are the paper's; what it leaves open, torch's."""

    lr: float = 1e-5
    # part of a parameter's name -> factor on lr; 0 keeps weights as they are, but saves nothing: see freeze
    lr_factors: dict[str, float] = field(default_factory=dict)
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.01
    first_moment: Literal["float32", "bfloat16"] = "float32"  # bfloat16: 2 bytes a parameter less
    grad_clip: float = 0.0  # largest norm of the whole gradient; 0: off
    warmup_steps: int = 0  # over which the learning rate rises linearly, in every schedule
    # plateau (torch's ReduceLROnPlateau on the validation) | constant | linear | cosine | inverse_sqrt (by the step)
    schedule: str = named("plateau", "step.schedule.SCHEDULES")
    plateau_factor: float = 0.1
    plateau_patience: int = 10  # validations
    plateau_metric: Literal["wa", "ua", "loss"] = "wa"  # what the plateau watches, of valid_task

    def __post_init__(self) -> None:
        allow(0 < self.lr <= 1000, "lr", self.lr, "above 0, at most 1000")
        allow(len(self.betas) == 2, "betas", self.betas, "two numbers")
        allow(all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "0 and more, below 1")
        for part, factor in self.lr_factors.items():
            allow(0 <= factor <= MOST, f"lr_factors.{part}", factor, f"0 to {MOST}")
        at_least(0, self, "weight_decay", "grad_clip", "warmup_steps", "plateau_patience")
        allow(0 < self.plateau_factor < 1, "plateau_factor", self.plateau_factor, "between 0 and 1")


@dataclass
class ValidConfig:
    """How validation predicts, and what it selects by. WA, UA and loss are recorded whatever is chosen."""

    # as in decoding, a beam of 1 | the answer to each task given the reference of those before it; to a text, the
    # likeliest token at each place of its reference, of which 1 - WER is taken as of any other text
    predict: Literal["greedy", "teacher_forced"] = "greedy"
    select: Literal["wa", "ua", "loss"] = "wa"  # of valid_task: ranks the checkpoints, and stops early


@dataclass
class SamplingConfig:
    """How often an epoch draws an utterance. An epoch has as many draws as the training set has utterances."""

    # every utterance once, without groups | every group as often | temperature
    rule: str = named("natural", "data.sampling.SAMPLINGS")
    by: str = ""  # the groups: values of the training set's utt2<by>, such as corpus, lang, or emotion for its classes
    temperature: float = 2.0  # of temperature: 1 is natural; the larger, the more balanced

    def __post_init__(self) -> None:
        between(1, MOST, self, "temperature")


@dataclass
class ContextConfig:
    """What Whisper-ER's decoder reads of the conversation before an utterance (data/dialogue.py)."""

    turns: int = 0  # utterances before it, by utt2prev of every set: at most so many, and 223 tokens; 0: none
    labels: bool = False  # of each turn, behind its text the labels as well

    def __post_init__(self) -> None:
        between(0, 1000, self, "turns")
        allow(self.turns or not self.labels, "labels", "true", "false with turns=0")


ONLY_TRAINING = (
    "augment",
    "distil",
    "loss",
    "optim",
    "sampling",
    "valid",
)  # sections that a trained model does not need


@dataclass
class TrainConfig:
    """All that a training depends on besides its data and token list."""

    model: ModelConfig = field(default_factory=ModelConfig)
    # Parts that keep their pretrained weights: encoder | decoder | encoder.layers.0-3 | decoder.layers.5 ... Layer 0
    # takes along what makes its input: the encoder's convolutions, the decoder's positions. The token table is always
    # trained, as it has the rows of the added tokens; so are heads and layer weights. A frozen part has no dropout, no
    # gradient, no moments; where all before it is frozen too, no activations are kept. It is not computed again by
    # activation_checkpointing. SSL encoders of which anything is frozen leave out no layers (layerdrop).
    freeze: list[str] = field(default_factory=list)
    lora: LoraConfig = field(default_factory=LoraConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    valid: ValidConfig = field(default_factory=ValidConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    # Waveforms in training: speed | reverb | noise | babble | telephone | gain, with their options in data/augment.py;
    # before them mix, of waveforms and labels (data/mixing.py)
    augment: dict[str, dict[str, Any]] = named({}, "data.augment.IN_TRAINING")
    normalize_loss: bool = True  # eq. 6; false: eq. 5, sums over tokens
    max_steps: int = 24000  # a step is one optimizer update; 0: the pretrained model as it is
    valid_interval: int = 480  # steps between validations, each of which may save a checkpoint
    # Minutes between training states, which are saved at the next validation, and when a signal asks to stop; 0: at
    # every validation. A kill costs what was done since the last one; the result does not depend on it.
    save_interval: float = 10
    patience: int = 20  # validations without improvement before stopping
    n_best: int = 10  # checkpoints kept and averaged
    # after training and averaging, the last state and all n best checkpoints stay, not the best one and the mean alone
    keep_checkpoints: bool = False
    valid_task: str = ""  # whose accuracy selects; empty: emotion if it is among the tasks, else the first task
    batch_size: int = 16  # utterances in one forward pass, of all processes together
    bucketing: bool = True  # batches of similar length; false: drawn without looking at the length
    accum_grad: int = 1  # forward passes per step
    parallel: Literal["ddp", "fsdp"] = "ddp"  # several processes: each holds the model | a share of it
    valid_batch_size: int = 32
    dtype: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast, weights stay float32
    # Of linear and convolution layers: cast once a step, not by autocast in every forward pass; the same result, and 2
    # bytes a parameter more while gradients are summed. The weights that are trained and saved stay float32.
    bfloat16_weights: bool = False
    # auto: on GPUs, forward and backward pass are launched as CUDA graphs, one for each of some shapes that batches are
    # filled up to; kernel by kernel where that is impossible, as on the CPU or with fsdp | off: kernel by kernel. How
    # far graphs have been tested: tools/benchmark/README.md, "GPU"
    graphs: Literal["auto", "off"] = "auto"
    compile: bool = False  # layers by torch.compile in the graphs: it compiles for minutes
    activation_checkpointing: bool = False  # layers are computed again for the gradient: less memory, a third more work
    num_workers: int = 2  # processes that read audio, as far as cores are left; 0: the training process reads
    # GB of memory, on each machine, that keep what has to be decoded, such as FLAC, for the next epochs. It is taken as
    # it fills, 0.115 GB an hour: 2 GB are enough for IEMOCAP twice, with one process; each of n has an n-th of them.
    # What does not fit is decoded in every epoch.
    cache_gb: float = 2.0
    log_interval: int = 20  # steps between log lines
    seed: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "valid_interval", "patience", "n_best", "batch_size", "accum_grad")
        at_least(1, self, "valid_batch_size", "log_interval")
        at_least(0, self, "max_steps", "save_interval", "num_workers", "cache_gb", "seed")
        allow(self.graphs == "auto" or not self.compile, "compile", self.compile, "false with graphs=off")
        rule, by = self.sampling.rule, self.sampling.by
        table = f"with sampling.rule={rule} the name of a table of the training set, such as corpus for utt2corpus"
        allow(by or rule == "natural", "sampling.by", "''", table)
        allow(not by or rule != "natural", "sampling.rule", rule, f"with sampling.by={by} balanced or temperature")
        mixed = "with augment.mix the categories whose labels are mixed, such as [emotion]"
        allow("mix" not in self.augment or self.loss.soft_labels, "loss.soft_labels", "[]", mixed)
        if self.context.turns:  # a teacher may not know the tokens of labels, nor has it learned such prefixes
            allow(self.model.kind == "seq2seq", "model.kind", self.model.kind, "seq2seq with context.turns")
            allow(not self.distil.model, "distil.model", self.distil.model, "none with context.turns")
        fine = self.distil.model or self.distil == DistilConfig()
        allow(fine, "distil.model", "''", "a teacher, where another key of distil is set")
        if self.bfloat16_weights:
            allow(self.dtype == "bfloat16", "dtype", self.dtype, "bfloat16 with bfloat16_weights")
            allow(self.parallel == "ddp", "parallel", self.parallel, "ddp with bfloat16_weights")
        if self.distil.model:  # every process holds the whole teacher, whose loss is one of a decoder
            allow(self.parallel == "ddp", "parallel", self.parallel, "ddp with distil.model")
            allow(self.model.kind == "seq2seq", "model.kind", self.model.kind, "seq2seq with distil.model")
        fine = self.lora.r or self.lora == LoraConfig()
        allow(fine, "lora.r", 0, "a rank from 1, where another key of lora is set")
        if self.lora.r:
            allow(self.parallel == "ddp", "parallel", self.parallel, "ddp with lora.r")
            fine = self.model.decoder_init == "pretrained"
            allow(
                fine, "model.decoder_init", self.model.decoder_init, "pretrained with lora.r, which trains no weights"
            )

    @staticmethod
    def updated(values: dict[str, Any]) -> dict[str, Any]:
        """The values of a file that an older version may have written: decoder_init: all was called random."""
        model = values.get("model")
        if isinstance(model, dict) and model.get("decoder_init") == "random":
            return values | {"model": model | {"decoder_init": "all"}}
        return values


@dataclass
class DecodeConfig:
    """Settings of the search for an utterance's target."""

    beam_size: int = 4
    length_penalty: float = 1.0  # score = log probability / length ** length_penalty
    # Longest text in tokens per encoder frame (50 a second); the decoder's positions, 448 in Whisper, bound it as well.
    # English takes 4 tokens a second. A letter of Georgian, Burmese or Tibetan takes up to 3: read fast (20 letters of
    # English a second), the first article of the Declaration of Human Rights takes 50, 85 and 92.
    maxlenratio: float = 2.0
    no_repeat_ngram_size: int = 0  # so many text tokens in a row are not written twice in a hypothesis; 0: they may be
    posterior: Literal["marginal", "best"] = "marginal"  # over the beam | given the best hypothesis
    # the label of a category: that of the best hypothesis | the most probable by the posterior over the beam, where the
    # best hypothesis has a label. The conventional method always answers the most probable.
    decide: Literal["best", "marginal"] = "best"
    calibrate: bool = False  # posteriors of categories by the temperatures of the experiment's calibration.json
    # tau: from the log posteriors of categories tau times the log prior of the labels that training drew is taken, and
    # the label is the most probable one; after calibrate; 0: off, 1: the prior has no say (Menon et al., 2021)
    prior_correction: float = 0.0
    search: str = named("beam", "search.beam.SEARCHES")  # beam
    # only well-formed answers | any token: a plain beam, where an answer may lack its label
    grammar: Literal["strict", "free"] = "strict"
    teacher_forced: bool = False  # each answer given the references of the tasks before it: what it could be at best
    # whose words and labels a model with context.turns reads of the turns before: its own hypotheses | the references,
    # which are what it could be at best
    context_from: Literal["hyp", "ref"] = "hyp"
    lang: str = ""  # language token of the prefix; empty: that of utt2lang, or of the token list; auto: the likeliest
    suppress: Literal["none", "whisper"] = "none"  # whisper: the tokens that its generation config lists
    batch_size: int = 32  # utterances; stage 5 on a GPU goes by batch_seconds
    # stage 5 on a GPU: seconds of encoder input in a batch, an utterance counting for 2 s at least; 0: by batch_size.
    # Keys and values of large-v3 take 10 GB at 600 s in bfloat16, and twice that while they are copied.
    batch_seconds: float = 600
    graphs: Literal["auto", "off"] = "auto"  # auto: on a GPU, a step of the search as one CUDA graph
    dtype: Literal["float32", "bfloat16"] = "float32"
    num_workers: int = 2

    def __post_init__(self) -> None:
        at_least(1, self, "beam_size", "batch_size")
        between(0, 1_000_000, self, "batch_seconds")
        between(1, 1000, self, "beam_size")
        between(-100, 100, self, "length_penalty")
        between(0, 1000, self, "maxlenratio", "no_repeat_ngram_size")
        between(0, 10, self, "prior_correction")
        at_least(0, self, "num_workers")
        over_beam = self.decide == "best" or self.posterior == "marginal"
        allow(over_beam, "decide", self.decide, f"best with posterior={self.posterior}, which is not over the beam")
        if self.teacher_forced:
            without = "with teacher_forced, which searches nothing; leave it out"
            allow(self.decide == "best", "decide", self.decide, f"best {without}")
            allow(self.grammar == "strict", "grammar", self.grammar, f"strict {without}")
            allow(self.suppress == "none", "suppress", self.suppress, f"none {without}")
            allow(not self.no_repeat_ngram_size, "no_repeat_ngram_size", self.no_repeat_ngram_size, f"0 {without}")
            allow(not self.lang, "lang", self.lang, f"that of the token list {without}")
