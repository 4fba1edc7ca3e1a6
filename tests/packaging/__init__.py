"""What is delivered: the wheel, and the container image of the cache engine."""
