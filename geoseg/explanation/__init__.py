"""What a network goes by: bands, dates and places."""
