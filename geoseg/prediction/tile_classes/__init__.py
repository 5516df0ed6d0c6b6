"""Predict the class, or the classes, of each tile of a scene."""
