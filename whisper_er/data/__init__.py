"""Data directories, and the batches that are made of them."""
