"""Train in several processes, one per device."""
