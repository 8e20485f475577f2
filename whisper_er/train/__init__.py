"""The training loop, and what it keeps: checkpoints, states, logs, the experiment directory."""
