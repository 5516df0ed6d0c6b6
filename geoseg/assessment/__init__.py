"""Draw samples of a map, and estimate its accuracy and the areas of its classes from them."""
