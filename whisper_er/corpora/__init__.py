"""How a corpus becomes data directories: published, of a CSV, pooled from several; its folds."""
