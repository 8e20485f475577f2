"""Data directories, corpora, folds, and the batches that are made of them."""
