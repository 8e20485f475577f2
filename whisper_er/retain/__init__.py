"""What a fine-tuned model keeps of the one that it started from: a teacher for its text, and a mix of their weights."""
