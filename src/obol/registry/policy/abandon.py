"""When a fill that nobody follows is given up.

A client that went away often comes back (a kubelet retries, a person presses Ctrl-C and starts again), so its bytes are
worth having. But a large layer that nobody wants must not keep a slow line busy for an hour.
"""

from __future__ import annotations

SMALL = 32 * 1024 * 1024


def give_up(frontier: int, size: int | None, idle: float, patience: float) -> bool:
    """Whether to stop after `idle` seconds without a follower; what has arrived is kept for the next attempt."""
    if idle < patience:
        return False
    if size is None:
        return True
    left = size - frontier
    return left > SMALL and frontier * 2 < size
