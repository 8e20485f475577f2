"""The search for the most probable target under a grammar, step by step or as CUDA graphs."""
