"""Networks for images and for series."""
