"""Values <-> token ids: the vocabulary with the tokens of the tasks, what a target is, how text is normalised."""
