"""Compute losses of batches for each kind of training."""
