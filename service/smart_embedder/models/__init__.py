"""The model families; text in, vectors or scores out."""
