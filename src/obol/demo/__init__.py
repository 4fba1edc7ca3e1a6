"""The main job shown on a bare machine: a slowed local origin, and a cold, warm and offline pull from it.

Called by `wiring`. Waits for its first scenario.
"""
