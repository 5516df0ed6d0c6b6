"""Keep what a training leaves behind: history, pictures, logs."""
