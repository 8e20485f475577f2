"""When a training ends: after max_steps, or without improvement."""

from whisper_er.config import TrainConfig


def reason_to_stop(step: int, since_better: int, config: TrainConfig) -> str:
    """The reason to end after a validation; "" to go on. since_better: validations since the best one so far."""
    if step >= config.max_steps:
        return f"max_steps={config.max_steps} reached"
    if since_better >= config.patience:
        return f"no improvement in {config.patience} validations"
    return ""
