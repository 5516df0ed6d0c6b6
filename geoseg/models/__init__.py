"""Networks, their weights, and the model card that travels with them."""
