"""Find dated images and assemble them into stacks."""
