"""What happens when: times of words, emotions over a recording, and how far two diarizations differ."""
