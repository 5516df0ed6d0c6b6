"""Serve a local web page on which maps are corrected by clicks."""
