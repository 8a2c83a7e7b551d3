"""One file per dialect; each shapes the engine's answers into the bytes its clients expect."""
