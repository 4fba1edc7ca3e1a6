"""Whether an upstream may be asked now: the circuit breaker and the back-off after a rate limit, as one value.

The breaker counts what says "the upstream is broken" (no connection, no answer in time, 5xx) and nothing else: a 404
or 401 is a healthy answer. Of one repository it counts one failure only, however often that is asked for: an image that
its registry cannot give says nothing of the others. Open, it lets one probe through per cool-down; hits are never its
business. A rate limit closes the whole upstream until the moment that it named, because every further question only
prolongs it. The same value stands for one path of an upstream, which is left alone when it alone fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from obol.registry.control.api import Problem

if TYPE_CHECKING:
    from obol.registry.control.api import HealthName

FAILURES_TO_OPEN = 5
FIRST_COOLDOWN = 5.0
LONGEST_COOLDOWN = 60.0


@dataclass(frozen=True, slots=True)
class Ask:
    """The upstream may be asked; `probe` says that this question decides whether the breaker closes."""

    probe: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """The upstream is not to be asked for another `seconds`."""

    seconds: float
    reason: Problem


@dataclass(frozen=True, slots=True)
class Health:
    """What recent answers say. Moments are monotonic seconds."""

    failures: int = 0
    where: frozenset[str] = frozenset()
    """What some of the failures were of; each counts once."""
    cooldown: float = FIRST_COOLDOWN
    open_until: float | None = None
    limited_until: float | None = None
    probed: bool = False
    """A probe is on its way."""
    answered: bool = False
    """Whether the upstream has answered at all; tells "ok" from "unknown"."""


def gate(health: Health, now: float) -> Ask | Hold:
    """May the upstream be asked at `now`?"""
    if health.limited_until is not None and now < health.limited_until:
        return Hold(health.limited_until - now, Problem.RATE_LIMITED)
    if health.open_until is None:
        return Ask()
    if now < health.open_until:
        return Hold(health.open_until - now, Problem.FAILING)
    return Ask(probe=True)


def probing(health: Health, now: float) -> Health:
    """A probe is on its way: others are held for one more cool-down, or until it comes back."""
    return replace(health, open_until=now + health.cooldown, probed=True)


def after_answer(health: Health) -> Health:
    """The upstream answered as a healthy one does (404 and 401 included)."""
    return Health(limited_until=health.limited_until, answered=True)


def after_failure(health: Health, now: float, where: str | None = None) -> Health:
    """No connection, no answer in time, or a 5xx; `where` names what it is of, if it may be of that alone.

    Only a failed probe lengthens the cool-down: what was asked before the breaker opened often fails all at once.
    """
    if where is None:
        health = replace(health, failures=health.failures + 1)
    elif where not in health.where and health.failures < FAILURES_TO_OPEN:
        health = replace(health, failures=health.failures + 1, where=health.where | {where})
    if health.failures < FAILURES_TO_OPEN:
        return health
    if health.open_until is None:
        return replace(health, open_until=now + health.cooldown)
    if not health.probed:
        return health
    cooldown = min(health.cooldown * 2, LONGEST_COOLDOWN)
    return replace(health, cooldown=cooldown, open_until=now + cooldown, probed=False)


def after_busy(health: Health, now: float, seconds: float) -> Health:
    """It asked to be left alone for so long; a later moment that is already known stands."""
    until = now + seconds
    return replace(health, failures=health.failures + 1, open_until=max(until, health.open_until or until))


def after_rate_limit(health: Health, now: float, seconds: float) -> Health:
    """The upstream said 429 and when to come back; a later moment that is already known stands."""
    until = now + seconds
    if health.limited_until is not None:
        until = max(until, health.limited_until)
    return replace(health, limited_until=until, answered=True)


def describe(health: Health, now: float) -> tuple[HealthName, float | None]:
    """One word for people (unknown, ok, failing, rate-limited) and the seconds until the next question."""
    match gate(health, now):
        case Hold(seconds, reason):
            return ("rate-limited" if reason is Problem.RATE_LIMITED else "failing"), seconds
        case Ask():
            if health.failures:
                return "failing", None
            return ("ok" if health.answered else "unknown"), None
        case never:
            assert_never(never)
