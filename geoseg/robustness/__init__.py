"""How scores fall when images are worse than those of the training, or attacked."""
