"""Weights that others have published, by name."""
