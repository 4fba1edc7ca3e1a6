"""The stack's own manifests as package data, and how images are read out of manifests.

Called by `stack` and `wiring`. It reads files and judges them; it applies nothing and starts nothing.
"""
