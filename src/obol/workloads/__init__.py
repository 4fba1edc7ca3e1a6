"""The stack's own manifests as package data, and how images are read out of them.

Called by `stack`. Waits for its first manifest.
"""
