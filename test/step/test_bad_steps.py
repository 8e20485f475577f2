"""A step whose loss or gradient is not finite changes nothing; a few in a row end the run."""

import json
from unittest import mock

import pytest
import torch
from stopped_runs import OUT_OF_BOUNDS, OVERRIDES
from tiny_experiment import call, train_and_average, train_arguments

from whisper_er.base.errors import UserError
from whisper_er.base.weights import load_weights, open_weights
from whisper_er.bin import train
from whisper_er.train import trainer

pytestmark = pytest.mark.usefixtures("no_git")
BAD = "train-03"


class Spoiled:
    """Makes the loss or the gradient of one utterance's batch NaN, from one step to another."""

    def __init__(self, what: str, first: int, last: int, utterance: str = BAD) -> None:
        self.what, self.steps, self.utterance, self.seen = what, range(first, last + 1), utterance, []

    def __enter__(self):
        do, spoiled = trainer.Trainer.step, self

        def step(trainer_, batches, *args):
            names = [utt_id for batch in batches for utt_id in batch.utt_ids]
            number = trainer_.progress.step + 1
            if number not in spoiled.steps or (spoiled.utterance and spoiled.utterance not in names):
                return do(trainer_, batches, *args)
            spoiled.seen.append((number, names, snapshot(trainer_)))
            weight = next(trainer_.model.parameters())
            handle = weight.register_hook(lambda gradient: gradient * torch.nan)
            forward = trainer_.model.forward
            if spoiled.what == "loss":
                handle.remove()
                trainer_.model.forward = lambda *a: (lambda out: out._replace(loss=out.loss * torch.nan))(forward(*a))
            try:
                result = do(trainer_, batches, *args)
            finally:
                handle.remove()
                trainer_.model.forward = forward
            assert all(torch.equal(a, b) for a, b in zip(spoiled.seen[-1][2], snapshot(trainer_), strict=True))
            return result

        self.patch = mock.patch.object(trainer.Trainer, "step", step)
        self.patch.start()
        return self

    def __exit__(self, *_):
        self.patch.stop()


def snapshot(trainer_) -> list[torch.Tensor]:
    """Weights and moments: what a skipped step must not touch."""
    state = trainer_.optimizer.state_dict()["state"]
    moments = [tensor.clone() for one in state.values() for tensor in one.values()]
    return [*(weight.detach().clone() for weight in trainer_.model.parameters()), *moments]


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("moment_type", ["float32", "bfloat16"])
def test_a_step_that_is_not_finite_changes_nothing_and_its_batch_is_saved(corpus, tmp_path, what, moment_type, capsys):
    with Spoiled(what, 4, 10) as spoiled:  # once an epoch of three steps
        train_and_average(corpus, tmp_path, *OVERRIDES, f"optim.first_moment={moment_type}")
    assert len(spoiled.seen) >= 2
    saved = sorted((tmp_path / "bad_steps").iterdir())
    assert [path.name for path in saved] == [f"step{step:06d}.process0.0.safetensors" for step, _, _ in spoiled.seen]
    for path, (_, names, _) in zip(saved, spoiled.seen):
        assert json.loads(open_weights(path).metadata()["utt_ids"]) == names
        assert load_weights(path)["wave_BS"].shape[0] == len(names)
    said = capsys.readouterr().out
    assert f"the {what} is not finite on " in said and f"{len(spoiled.seen)} steps skipped" in said
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line


def test_a_few_such_steps_in_a_row_end_the_run_also_after_a_restart(corpus, tmp_path):
    for _ in range(2):
        with Spoiled("loss", 6, 10, utterance=""), pytest.raises(UserError, match="step 8: the loss .*; 3 steps in a"):
            call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    train_and_average(corpus, tmp_path, *OVERRIDES)


def test_a_learning_rate_out_of_all_bounds_ends_the_run(corpus, tmp_path):
    for interval, message in ((9, "in a row: lower optim.lr"), (1, "validation: the loss is not finite on valid-")):
        more = [*OUT_OF_BOUNDS, f"valid_interval={interval}"]
        with pytest.raises(UserError, match=message):
            call(train, *train_arguments(corpus, tmp_path / str(interval), *OVERRIDES, *more))
