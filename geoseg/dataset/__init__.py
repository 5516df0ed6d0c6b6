"""Prepare data sets for training: targets, tiles, samples, splits and statistics."""
