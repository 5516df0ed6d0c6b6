"""Judge networks on samples and tiles that were held out of their training."""
