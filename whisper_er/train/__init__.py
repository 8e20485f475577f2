"""The training loop, and what it writes: checkpoints, states, logs, the experiment directory."""
