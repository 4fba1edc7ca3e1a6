"""What `up`, `down`, `purge` and `status` mean, on any backend and with either cache engine.

Called by `wiring` and `cli`. `plan` decides and does no I/O; `lifecycle` carries out what was decided, against ports.
"""
