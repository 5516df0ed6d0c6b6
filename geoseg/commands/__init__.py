"""Read the command line, explain its faults, and run one training or a sweep of them."""
