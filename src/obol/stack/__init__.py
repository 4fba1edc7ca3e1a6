"""What `up`, `down`, `purge` and `status` mean, whatever the backend and the cache engine.

Called by `wiring`. Waits for its first backend.
"""
