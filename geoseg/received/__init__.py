"""Read files and words that came from elsewhere, and trust nothing in them."""
