"""What is fitted in seconds, before the network that it helps learns anything."""
