"""Class maps on disk: read, write, join into mosaics."""
