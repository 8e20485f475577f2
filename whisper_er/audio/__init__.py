"""Audio: files to samples and back."""
