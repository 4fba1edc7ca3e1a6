"""Settings: defaults, then `obol.toml`, then the environment, then flags; every problem is reported at once.

Called by `wiring` and `cli`. It reads files and the environment, once; it starts nothing and keeps no global state.
"""
