"""Compare maps with labels, and report how well they agree."""
