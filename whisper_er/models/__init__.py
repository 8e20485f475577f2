"""Both methods, from samples to losses and predictions."""
