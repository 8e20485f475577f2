"""A trained model, opened: recordings in, results out."""
