"""Recognition with a trained model: recordings in, results out."""
