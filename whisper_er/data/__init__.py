"""Data directories, corpora, folds, audio files, and the batches that are made of them."""
