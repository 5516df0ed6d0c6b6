"""Samples: what networks see, as tensors."""
