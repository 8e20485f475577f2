"""report.html and comparison.html: one self-contained file each, to be opened from disk."""
