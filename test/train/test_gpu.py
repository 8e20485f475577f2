"""On a GPU: the losses and predictions of the CPU, and no step that waits for the device."""

import pytest
import torch
from tiny_experiment import write_corpus

from whisper_er import Recognizer
from whisper_er.base.settings import load
from whisper_er.base.weights import load_weights
from whisper_er.config import DecodeConfig, OptimConfig, TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.batches import load as load_batches
from whisper_er.data.plan import by_length
from whisper_er.data.utterances import read_utterances
from whisper_er.export.ctranslate2 import convert
from whisper_er.graphs.captured import Graph
from whisper_er.graphs.repeated import Repeated
from whisper_er.models.build import build_model
from whisper_er.process.device import autocast
from whisper_er.step.optimizer import make_optimizer
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train.saver import Saver
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
SYSTEMS = [("seq2seq", "token_list"), ("encoder_classifier", "label_list")]


def prepare(root, kind: str, token_list: str, device: str, *options: str):
    corpus = root / "corpus"
    if not corpus.exists():
        write_corpus(corpus)
    tokenizer = load_tokenizer(corpus / token_list)
    # Rows of the new tokens that differ: of an untrained model's equal ones, rounding would choose the label.
    distinct = ["model.new_token_init=random", "model.whisper_sizes.init_std=0.3"]
    options = [f"model.kind={kind}", "graphs=auto", "model.specaug.time_masks=1", *distinct, *options]
    config = load(TrainConfig, corpus / "train.yaml", options)
    torch.manual_seed(1)
    model = build_model(config, tokenizer).to(device)
    utterances = read_utterances(corpus / "train", tokenizer, "error")
    return Trainer(model, tokenizer, config, root, torch.device(device)), utterances


@pytest.mark.parametrize("kind, token_list", SYSTEMS)
def test_a_gpu_says_what_the_cpu_says(tmp_path, kind, token_list):
    losses, predictions = [], []
    for device in ("cpu", "cuda"):
        trainer, utterances = prepare(tmp_path, kind, token_list, device)
        model = trainer.model.eval()
        plan = by_length(utterances.num_samples_N, 16)
        (batch,) = load_batches(utterances, plan, trainer.tokenizer, model.max_target, 2, trainer.device)
        batch = batch.to(trainer.device)
        with torch.no_grad():
            losses.append(float(model(batch).loss))
        predictions.append(model.predict(batch, DecodeConfig()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for on_cpu, on_gpu in zip(*predictions):
        assert (on_gpu.utt_id, on_gpu.values) == (on_cpu.utt_id, on_cpu.values)
        assert on_gpu.score == pytest.approx(on_cpu.score, abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"beam_size": 1}, {"grammar": "free", "length_penalty": 0.5}])
def test_decoding_by_graphs_is_decoding_kernel_by_kernel(tmp_path, options):
    trainer, utterances = prepare(tmp_path, "seq2seq", "token_list", "cuda")
    model = trainer.model.eval()
    plan = [*by_length(utterances.num_samples_N, 8), [2, 5], *by_length(utterances.num_samples_N, 8)]  # all met again
    for batch in load_batches(utterances, plan, trainer.tokenizer, model.max_target, 0, trainer.device):
        expected, found = (
            model.predict(batch.to(trainer.device), DecodeConfig(graphs=graphs, **options))
            for graphs in ("off", "auto")
        )
        for one, other in zip(expected, found, strict=True):
            assert other.values == one.values
            assert other.score == pytest.approx(one.score, abs=1e-4)
            for task, posterior in one.posteriors.items():
                assert other.posteriors[task] == pytest.approx(posterior, abs=1e-4)
    (search,) = model.searches.values()
    assert all(isinstance(graph, Graph) for graph in search.repeated.met.values())


def test_graphs_of_the_search_see_weights_that_were_trained_and_casts_of_them(tmp_path):
    trainer, utterances = prepare(tmp_path, "seq2seq", "token_list", "cuda")
    model = trainer.model.eval()
    plan = by_length(utterances.num_samples_N, 16)
    (batch,) = load_batches(utterances, plan, trainer.tokenizer, model.max_target, 0, trainer.device)
    for _ in range(3):
        scores = {}
        for graphs in ("off", "auto"):
            with autocast(trainer.device, "bfloat16"):
                answers = model.answer(batch.to(trainer.device), DecodeConfig(graphs=graphs, maxlenratio=0.01))
            scores[graphs] = answers.score_U
        torch.testing.assert_close(scores["auto"], scores["off"], atol=0.1, rtol=0)
        with torch.no_grad():
            for weight in model.decoder.parameters():
                weight *= 1.2


def test_a_search_by_graphs_waits_once_in_four_steps(tmp_path, monkeypatch):
    trainer, utterances = prepare(tmp_path, "seq2seq", "token_list", "cuda")
    model, inside = trainer.model.eval(), Repeated.step

    def strict(repeated):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return inside(repeated)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Repeated, "step", strict)
    plan = by_length(utterances.num_samples_N, 16)
    (batch,) = load_batches(utterances, plan, trainer.tokenizer, model.max_target, 0, trainer.device)
    model.predict(batch.to(trainer.device), DecodeConfig(graphs="auto"))


def test_recordings_are_recognised_on_a_gpu_as_on_the_cpu(trained):
    paths = list(kaldi.read_table(trained / "test" / "wav.scp").values())
    on_cpu, on_gpu = (Recognizer.from_pretrained(trained / "exp", device)(paths) for device in ("cpu", "cuda"))
    for one, two in zip(on_cpu, on_gpu, strict=True):
        assert (two.text, two.labels) == (one.text, one.labels)
        assert two.probabilities["emotion"] == pytest.approx(one.probabilities["emotion"], abs=1e-3)


def test_a_converted_model_gives_on_a_gpu_what_it_gives_on_the_cpu(trained, tmp_path):
    pytest.importorskip("ctranslate2")
    convert(trained / "exp", tmp_path / "ct2", "float32")
    paths = list(kaldi.read_table(trained / "test" / "wav.scp").values())
    on_cpu, on_gpu = (Recognizer.from_pretrained(tmp_path / "ct2", device)(paths) for device in ("cpu", "cuda"))
    assert [(found.text, found.labels) for found in on_gpu] == [(found.text, found.labels) for found in on_cpu]


COPIES = ["dtype=bfloat16", "bfloat16_weights=true"]


@pytest.mark.parametrize("options", [[], COPIES])
@pytest.mark.parametrize("kind, token_list", SYSTEMS)
@pytest.mark.parametrize("graphs", ["auto", "off"])
def test_a_step_on_a_gpu_does_not_wait_for_it(tmp_path, kind, token_list, options, graphs):
    trainer, utterances = prepare(tmp_path, kind, token_list, "cuda", f"graphs={graphs}", *options)
    micro_batches, size = next(trainer.steps(utterances))
    for _ in range(2):  # makes the optimizer's state, then captures
        trainer.judge.add(trainer.step(micro_batches, size, Sums(0)))
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.judge.add(trainer.step(micro_batches, size, Sums(0)))  # the step before is judged
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_step_is_judged_while_the_next_one_runs(tmp_path):
    trainer, utterances = prepare(tmp_path, *SYSTEMS[0], "cuda", "graphs=off")
    for _ in range(3):
        before = trainer.step(*next(trainer.steps(utterances)), Sums(0))
        torch.cuda._sleep(2**31)  # about a second
        running = torch.cuda.current_stream().record_event()
        before.verdict_3.tolist()
        assert not running.query()
    torch.cuda.synchronize()


def test_weights_cast_once_a_step_learn_on_a_gpu_as_by_autocast(tmp_path):
    runs = []
    for options in (COPIES[:1], COPIES):
        trainer, utterances = prepare(tmp_path, *SYSTEMS[0], "cuda", "accum_grad=2", *options)
        steps = trainer.steps(utterances)
        runs.append([float(trainer.step(*next(steps), Sums(0)).losses_M.sum()) for _ in range(20)])
    assert runs[1] == pytest.approx(runs[0], rel=1e-3)  # sums by atomic addition differ in their order


def train(trainer, utterances, steps: int) -> torch.Tensor:
    """Weights after some steps."""
    trainer.model.train()
    for group in trainer.optimizer.param_groups:
        group["eps"] = 1e-3  # else AdamW makes steps of rounding where a gradient is 0
    batches, sums = trainer.steps(utterances), Sums(0)
    for _ in range(steps):
        trainer.judge.add(trainer.step(*next(batches), sums))
    trainer.judge.finish()
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


@pytest.mark.parametrize("kind, token_list", SYSTEMS)
# Of the distance that the weights have gone; rehearsed on a CPU they differ by 5e-7 and 9e-4 of it.
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_training_by_graphs_is_training_kernel_by_kernel(tmp_path, monkeypatch, kind, token_list, dtype, tolerance):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # whose rounding depends on the shape
    options = ["model.whisper_sizes.dropout=0", "model.whisper_sizes.init_std=0.1", f"dtype={dtype}", "optim.lr=1e-4"]
    options += ["model.train_pad={none: 0.5, to 1: 0.5}", "optim.grad_clip=1", "batch_size=3", "accum_grad=2"]
    weights = {}
    for graphs in ("off", "auto"):
        trainer, utterances = prepare(tmp_path, kind, token_list, "cuda", *options, f"graphs={graphs}")
        start = torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])
        weights[graphs] = train(trainer, utterances, 50)
    assert any(isinstance(graph, Graph) for graph in trainer.backward.graphs.captured.met.values())
    moved = (weights["off"] - start).norm()
    assert moved > 0.1
    assert (weights["auto"] - weights["off"]).norm() < tolerance * moved


def test_a_replay_draws_dropout_anew_and_the_seed_repeats_it(tmp_path):
    trainer, utterances = prepare(tmp_path, "seq2seq", "token_list", "cuda", "model.whisper_sizes.dropout=0.3")
    (batch,), size = next(trainer.steps(utterances))
    trainer.model.train()
    losses = []
    for seed in (1, 1, 1, 2):  # warm-up, capture with its replay, two replays
        torch.manual_seed(seed)
        losses.append(float(trainer.backward.graphs(batch, 1 / size)["loss"]))
    assert losses[:2] == pytest.approx([losses[2]] * 2, rel=1e-5)
    assert losses[3] != pytest.approx(losses[2], rel=1e-4)
    assert float(trainer.backward.graphs(batch, 1 / size)["loss"]) != pytest.approx(losses[3], rel=1e-4)


def test_a_capture_that_fails_leaves_training_as_it_was(tmp_path, capfd):
    trainer, utterances = prepare(tmp_path, "seq2seq", "token_list", "cuda", "model.whisper_sizes.dropout=0.1")
    run = trainer.backward.graphs.captured.function

    def reading(inputs):
        inputs["weight"].item()
        return run(inputs)

    trainer.backward.graphs.captured.function = reading
    assert train(trainer, utterances, 10).isfinite().all()
    assert trainer.backward.graphs is None and trainer.judge.skipped == 0
    assert capfd.readouterr().out.count("graphs: a CUDA graph could not be captured") == 1


def test_compiled_layers_train_as_others_do(tmp_path):
    options = ["model.whisper_sizes.dropout=0", "model.whisper_sizes.init_std=0.1", "optim.lr=1e-4"]
    plain, compiled = (
        train(*prepare(tmp_path, "seq2seq", "token_list", "cuda", *options, f"compile={compiled}"), 10)
        for compiled in ("false", "true")
    )
    torch.testing.assert_close(compiled, plain, rtol=0, atol=1e-4)


def test_a_save_from_a_gpu_writes_what_was_there_when_it_was_saved(tmp_path):
    model = torch.nn.Linear(300, 200, device="cuda")
    optimizer = make_optimizer(model, OptimConfig())
    model(torch.ones(1, 300, device="cuda")).sum().backward()
    optimizer.step()
    saver, weight = Saver(model, optimizer, torch.device("cuda")), model.weight.detach().cpu()
    saver.save(tmp_path / "checkpoint", tmp_path / "state", {}, then=lambda: None)
    model.weight.data.zero_()
    saver.wait()
    assert all(buffer.is_pinned() for buffer in saver.buffers.values())
    assert torch.equal(load_weights(tmp_path / "checkpoint")["weight"], weight)
    assert torch.equal(load_weights(tmp_path / "state")["model.weight"], weight)
