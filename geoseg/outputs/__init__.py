"""Write files that are either whole or absent, and say what is going on."""
