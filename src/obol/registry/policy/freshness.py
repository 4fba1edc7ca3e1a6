"""What to do about a tag: trust it, ask about it, or refuse.

A digest never changes and is never asked again; that needs no policy. A tag is trusted for a while, then asked about
with a HEAD. While the upstream cannot be asked, what the tag last meant is better than nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from obol.registry.policy.health import Ask, Hold

if TYPE_CHECKING:
    from obol.registry.control.api import Problem


@dataclass(frozen=True, slots=True)
class ServeStored:
    """What we hold is fresh."""


@dataclass(frozen=True, slots=True)
class Revalidate:
    """Ask the upstream whether the tag still means the same; serve what we hold if the answer is late or broken."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """We hold nothing: ask the upstream."""


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Serve what we hold, marked, because the upstream cannot be asked."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer at once that we cannot serve. `retry_after` in seconds; `reason` None means: we are offline by order."""

    reason: Problem | None
    retry_after: float | None = None


TagDecision = ServeStored | Revalidate | Fetch | ServeStale | Refuse


def decide_tag(age: float | None, ttl: float, upstream: Ask | Hold, *, held: bool, offline: bool) -> TagDecision:
    """Decide for a tag that was last confirmed `age` seconds ago (None: not since this process started)."""
    if held and age is not None and 0 <= age < ttl:
        return ServeStored()
    if offline:
        return ServeStale() if held else Refuse(None)
    match upstream:
        case Hold(seconds, reason):
            return ServeStale() if held else Refuse(reason, seconds)
        case Ask():
            return Revalidate() if held else Fetch()
        case never:
            assert_never(never)


def decide_digest(upstream: Ask | Hold, *, offline: bool, patience: float = 0.0) -> Fetch | Refuse:
    """Decide for content by digest that we do not hold. A hold of at most `patience` seconds is waited for."""
    if offline:
        return Refuse(None)
    match upstream:
        case Hold(seconds, reason) if seconds > patience:
            return Refuse(reason, seconds)
        case _:
            return Fetch()
