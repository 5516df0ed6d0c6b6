"""Scenes: images on one grid, of one date or of many."""
