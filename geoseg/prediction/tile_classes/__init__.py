"""Predict one class for each tile of a scene."""
