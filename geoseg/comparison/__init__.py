"""Compare two maps of the same ground: what became of what, and how much of it can be believed."""
