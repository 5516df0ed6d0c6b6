"""Networks that give a whole image one class."""
