"""Registry caches as containers of Docker."""
