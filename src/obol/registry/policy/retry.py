"""When to try again, how long to wait before it, and when to give up.

The schedule is ours because the same numbers decide three things that must agree: how long a client waits for an
answer, how hard a struggling upstream is pressed, and when a transfer is given up.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0
LEAST_BACKOFF = 1.0
DEFAULT_BACKOFF = 30.0
LONGEST_BACKOFF = 900.0
SMALL = 32 * 1024 * 1024
"""Bytes that are worth fetching to their end, whether or not a client waits for them."""
LONGEST_MOMENT = 64
"""Characters of a Retry-After that are looked at; a date has 29."""


def delay(attempt: int, chance: float) -> float:
    """Seconds before retry number `attempt` (0 for the first): exponential with full jitter, `chance` in [0, 1)."""
    ceiling = min(FIRST_DELAY * 2.0 ** min(attempt, 16), LONGEST_DELAY)
    return ceiling * chance


def backoff(retry_after: str | None, wall: float) -> float:
    """Seconds to leave an upstream alone after a 429, from its Retry-After (seconds or a date, RFC 9110 §10.2.3).

    Absent or unreadable: 30 s. Clamped to 1..900 s, so that neither a zero nor a century is taken at its word.
    """
    text = (retry_after or "")[:LONGEST_MOMENT].strip()
    if text.isascii() and text.isdigit():
        return min(max(float(text), LEAST_BACKOFF), LONGEST_BACKOFF)
    try:
        moment = _moment(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return DEFAULT_BACKOFF
    return min(max(moment - wall, LEAST_BACKOFF), LONGEST_BACKOFF)


def _moment(text: str) -> float:
    read = parsedate_to_datetime(text)
    # Without a zone it is UTC, as every date of HTTP; Python would take it for the machine's own time.
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()


def give_up(frontier: int, size: int | None, idle: float, patience: float) -> bool:
    """Whether a transfer stops after `idle` seconds without a follower; what has arrived is kept for the next attempt.

    A client that went away often comes back (a kubelet retries, a person presses Ctrl-C and starts again), so its bytes
    are worth having. But a large layer that no client wants must not keep a slow line busy for an hour.
    """
    if idle < patience:
        return False
    if size is None:
        return True
    left = size - frontier
    return left > SMALL and frontier * 2 < size
