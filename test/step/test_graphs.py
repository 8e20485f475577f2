"""Training by graphs, rehearsed without a GPU: the weights of training without them."""

import pytest
import torch
from recorded_graph import RecordedGraph
from tiny_ssl import FAMILIES, classifier, write_model
from tiny_whisper import batch_of, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.config import DistilConfig, TrainConfig
from whisper_er.data.utterances import read_utterances
from whisper_er.graphs import passes
from whisper_er.graphs.captured import CaptureFailed, Rehearsal
from whisper_er.graphs.passes import Passes
from whisper_er.models.build import build_model
from whisper_er.retain.distillation import Distillation
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

CPU = torch.device("cpu")
systems = pytest.mark.parametrize("kind, token_list", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])
# No dropout, which draws as many numbers as there are states; and nothing that AdamW makes of rounding.
OPTIONS = ["model.whisper_sizes.dropout=0", "optim.grad_clip=1", "batch_size=3", "accum_grad=2"]
RANDOM = ["model.specaug.time_masks=2", "model.specaug.freq_masks=1", "model.train_pad={none: 0.5, to 1: 0.5}"]


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """What is captured is what was done then."""
    monkeypatch.setattr("whisper_er.graphs.captured.Rehearsal", RecordedGraph)
    monkeypatch.setattr("whisper_er.models.encoder.may_be_padded", lambda *_: True)  # as on a GPU


def prepare(corpus, tmp_path, kind: str, token_list: str, *options: str):
    config = load(TrainConfig, corpus / "train.yaml", [f"model.kind={kind}", *OPTIONS, *options])
    tokenizer = load_tokenizer(corpus / token_list)
    torch.manual_seed(1)
    trainer = Trainer(build_model(config, tokenizer), tokenizer, config, tmp_path, CPU)
    trainer.model.train()
    for group in trainer.optimizer.param_groups:
        group["eps"] = 1e-3
    return trainer, read_utterances(corpus / "train", tokenizer, "error")


def rehearsal_of(trainer) -> Passes:
    return Passes(trainer.model, trainer.config, CPU, trainer.backward.copies.in_use, rehearse=True)


def train(trainer, utterances, steps: int = 8):
    """Weights and means after some steps."""
    sums, batches = Sums(0), trainer.steps(utterances)
    for _ in range(steps):
        trainer.judge.add(trainer.step(*next(batches), sums))
    means = sums.means(trainer.task_names)
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]), means


@systems
@pytest.mark.parametrize("options", [[], RANDOM, ["dtype=bfloat16"], ["dtype=bfloat16", "bfloat16_weights=true"]])
def test_steps_by_graphs_are_the_steps_without(corpus, tmp_path, kind, token_list, options):
    trainer, utterances = prepare(corpus, tmp_path, kind, token_list, *options)
    start = torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])
    exact, means = train(trainer, utterances)
    trainer, _ = prepare(corpus, tmp_path, kind, token_list, *options)
    trainer.backward.graphs = rehearsal_of(trainer)
    weights, own_means = train(trainer, utterances)
    met = trainer.backward.graphs.captured.met
    assert 1 < len(met) and any(isinstance(graph, Rehearsal) for graph in met.values())
    tolerance = 1e-3 if "dtype=bfloat16" in options else 1e-5
    torch.testing.assert_close(weights, exact, rtol=0, atol=tolerance)
    assert own_means == pytest.approx(means, abs=tolerance)
    assert (exact - start).abs().max() > 3 * tolerance


LOSSES = ["loss.category=focal", "loss.focal_gamma=2", "loss.task_weights.emotion=2"]


@pytest.mark.parametrize("kind, token_list, options", [
    ("seq2seq", "token_list", LOSSES), ("seq2seq", "token_list", ["teacher"]),
    ("encoder_classifier", "label_list", LOSSES),
    ("encoder_classifier", "label_list", ["model.layers=weighted", "model.pool=attentive", "model.head_width=6"]),
])  # fmt: skip
def test_other_losses_and_poolings_are_as_without_graphs(corpus, tmp_path, kind, token_list, options):
    weights = []
    for graphs in (False, True):
        trainer, utterances = prepare(corpus, tmp_path, kind, token_list, *set(options) - {"teacher"})
        if "teacher" in options:
            torch.manual_seed(2)
            other = build_model(trainer.config, trainer.tokenizer)
            trainer.model.distillation = Distillation(other, DistilConfig(temperature=2.0), normalize=True)
            trainer.task_names.append("distil")
        if graphs:
            trainer.backward.graphs = rehearsal_of(trainer)
        weights.append(train(trainer, utterances)[0])
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_ssl_encoders_are_as_without_graphs(tmp_path, monkeypatch, family):
    monkeypatch.setattr("transformers.masking_utils.is_tracing", lambda *_: True)  # as while a GPU captures
    write_model(tmp_path / "ssl", family, "base")
    model, config = classifier(tmp_path / "ssl")
    labels = [{"emotion": "happy"}, {"emotion": "sad"}, {"emotion": "happy"}]
    batch = batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], labels), model.tokenizer)
    model.audio_encoder.encoder.config.layerdrop = 0.0
    passes_of_model, gradients = Passes(model.train(), config, CPU, rehearse=True), []
    for _ in range(3):  # eagerly, captured, again
        model.zero_grad(set_to_none=False)
        torch.manual_seed(1)  # of dropout
        passes_of_model(batch, 1 / len(batch))
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad]))
    assert gradients[0].norm() > 0.1
    for others in gradients[1:]:
        torch.testing.assert_close(others, gradients[0])


def test_a_step_that_is_not_finite_is_skipped_and_the_next_one_is_not(corpus, tmp_path):
    trainer, utterances = prepare(corpus, tmp_path, "seq2seq", "token_list")
    trainer.backward.graphs = rehearsal_of(trainer)
    batches = trainer.steps(utterances)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    micro_batches, size = next(batches)
    spoilt = micro_batches[0].having(wave_BS=torch.full_like(micro_batches[0].wave_BS.float(), torch.nan))
    trainer.judge.add(trainer.step([spoilt, *micro_batches[1:]], size, Sums(0)))
    assert all(torch.equal(weight, old) for weight, old in zip(trainer.model.parameters(), before))
    trainer.judge.add(trainer.step(micro_batches, size, Sums(0)))
    trainer.judge.finish()
    assert trainer.judge.skipped == 1 and not torch.equal(trainer.model.decoder.embed_tokens.weight, before[0])


def test_a_capture_that_fails_leaves_training_as_it_was(corpus, tmp_path, capfd):
    trainer, utterances = prepare(corpus, tmp_path, "seq2seq", "token_list")
    exact, _ = train(trainer, utterances)
    trainer, _ = prepare(corpus, tmp_path, "seq2seq", "token_list")
    trainer.backward.graphs = rehearsal_of(trainer)

    def fail(inputs):
        raise CaptureFailed("no driver")

    trainer.backward.graphs.captured.capture = fail
    weights, _ = train(trainer, utterances)
    assert trainer.backward.graphs is None and all(weight.grad is None for weight in trainer.model.parameters())
    torch.testing.assert_close(weights, exact, rtol=0, atol=1e-5)
    assert capfd.readouterr().out.count("graphs: no driver; from here on every kernel is launched by itself\n") == 1


def test_where_memory_does_not_suffice_beside_the_graphs_they_leave_and_the_step_is_made_anew(corpus, tmp_path, capfd):
    trainer, utterances = prepare(corpus, tmp_path, "seq2seq", "token_list", *RANDOM)
    exact, _ = train(trainer, utterances)
    trainer, _ = prepare(corpus, tmp_path, "seq2seq", "token_list", *RANDOM)
    trainer.backward.graphs = rehearsal_of(trainer)
    captured, calls = trainer.backward.graphs.captured, []
    run = captured.function

    def fill_memory(inputs):
        calls.append(len(captured.met))
        outputs = run(inputs)
        if len(calls) == 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return outputs

    captured.function = fill_memory
    weights, _ = train(trainer, utterances)
    assert calls[9] > 1 and calls[10] == 1  # it is the first shape again
    torch.testing.assert_close(weights, exact, rtol=0, atol=1e-5)
    assert capfd.readouterr().out.count("graphs: beside them memory does not suffice") == 1


def test_an_error_that_graphs_may_have_made_names_the_way_around_them(corpus, tmp_path, capfd):
    trainer, utterances = prepare(corpus, tmp_path, "seq2seq", "token_list")
    trainer.backward.graphs = rehearsal_of(trainer)

    def fail(inputs):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    trainer.backward.graphs.captured.function = fail
    with pytest.raises(RuntimeError, match="illegal memory access"):
        train(trainer, utterances)
    assert capfd.readouterr().out.count("graphs: with graphs=off every kernel is launched by itself\n") == 1


def test_layers_are_compiled_within_the_graphs_alone(corpus, tmp_path, monkeypatch):
    called = []

    def compile_function(function, dynamic):
        return lambda *args: (called.append(trainer.model.training), function(*args))[1]

    monkeypatch.setattr(torch, "compile", compile_function)
    trainer, utterances = prepare(corpus, tmp_path, "seq2seq", "token_list", "graphs=auto", "compile=true")
    trainer.backward.graphs = rehearsal_of(trainer)
    (batch, *_), size = next(trainer.steps(utterances))
    trainer.backward.graphs(batch, 1 / size)
    layers = sum(len(stack.layers) for stack in trainer.model.stacks().values())
    assert called == [True] * layers
    trainer.model(batch)
    assert len(called) == layers


def test_where_there_are_no_graphs_a_line_says_why(corpus, tmp_path, capfd, monkeypatch):
    options = ["graphs=auto", "activation_checkpointing=true", "compile=true"]
    trainer, _ = prepare(corpus, tmp_path, "seq2seq", "token_list", *options)
    assert trainer.backward.graphs is None
    lines = capfd.readouterr().out
    assert lines == "compile: there is no GPU, and layers are compiled for graphs alone: they are not compiled\n"
    cuda, config = torch.device("cuda"), trainer.config
    config.compile = False
    assert passes.passes(trainer.model, config, CPU) is None and capfd.readouterr().out == ""
    assert passes.passes(trainer.model, config, cuda) is None
    assert capfd.readouterr().out.startswith("graphs: activation_checkpointing reads")
    trainer.model.backbone_config.layerdrop, config.activation_checkpointing = 0.1, False
    assert "layerdrop" in passes.obstacle_to_graphs(trainer.model, config)
    trainer.model.backbone_config.layerdrop = 0.0
    assert passes.obstacle_to_graphs(trainer.model, config) == ""
    config.graphs = "off"
    assert passes.passes(trainer.model, config, cuda) is None and capfd.readouterr().out == ""
    monkeypatch.setattr(passes.distributed, "world_size", lambda: 2)
    assert passes.obstacle_to_graphs(trainer.model, config) == ""
    config.parallel = "fsdp"
    assert passes.obstacle_to_graphs(trainer.model, config).startswith("parallel=fsdp")


def test_compiled_layers_without_graphs_are_refused(corpus):
    with pytest.raises(UserError, match="compile: True is not allowed; allowed: false with graphs=off"):
        load(TrainConfig, corpus / "train.yaml", ["compile=true", "graphs=off"])
