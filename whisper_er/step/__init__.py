"""One update of the weights: passes on one GPU or several, the optimizer, the learning rate, steps that go wrong."""
