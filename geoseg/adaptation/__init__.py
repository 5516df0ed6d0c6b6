"""Adapt trained networks to another place or sensor, without labels."""
