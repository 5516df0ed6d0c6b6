"""Calibrate confidences, and control the risk of what is decided by them."""
