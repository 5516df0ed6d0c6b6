"""Train networks: settings, the loop, what a run leaves behind."""
