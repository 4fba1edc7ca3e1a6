"""Our own client of an OCI registry, for warming, prefetching and the demo.

Called by `wiring`. Waits for its first verb.
"""
