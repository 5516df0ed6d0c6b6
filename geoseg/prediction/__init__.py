"""Apply trained networks to scenes, windows, stacks, in batches over whole folders."""
