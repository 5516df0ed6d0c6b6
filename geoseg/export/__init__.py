"""Hand trained networks over to other programs."""
