"""Mend maps by corrections: a few steps of training around each, and what to look at next."""
