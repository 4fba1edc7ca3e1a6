"""The kinds of cluster, each in a package or module of its own. They call programs and hold no policy.

Called by `stack` through the port in `ports`; only `wiring` makes a concrete one, by its row in the table there. They
know neither each other nor the registry. `detect` finds out which programs answer.
"""
