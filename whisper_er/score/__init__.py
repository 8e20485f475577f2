"""Figures: of one test set, of folds and seeds, of two systems; how sure they are."""
