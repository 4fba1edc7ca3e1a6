"""What `up`, `down`, `purge` and `status` mean, whatever the backend and the cache engine.

Called by `wiring` and `cli`. `plan` decides and does no I/O; `lifecycle` carries out what was decided, against ports.
"""
