"""What is trained in place of a model's weights: low-rank adapters, and how they become one model with them."""
