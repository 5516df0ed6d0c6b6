"""Classify parcels and points through time: samples, predictions, maps of parcels."""
