"""Turn data sets into tensors."""
