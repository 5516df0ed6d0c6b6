"""Plan a sample of a map, draw it, and write it for interpreters."""
