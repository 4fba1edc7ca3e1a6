from __future__ import annotations

from obol.registry.engine.memory import Recent
from tests.fakes.clock import FakeClock


def test_age() -> None:
    """What happened is known by its age on the monotonic clock; a jump of the wall clock is nothing to it."""
    clock = FakeClock()
    recent: Recent[str] = Recent(clock)

    recent.mark("a")
    clock.advance(5.0)
    clock.date += 31_536_000.0

    assert recent.age("a") == 5.0
    assert recent.age("b") is None


def test_mark_again() -> None:
    """The last time counts."""
    clock = FakeClock()
    recent: Recent[str] = Recent(clock)

    recent.mark("a")
    clock.advance(5.0)
    recent.mark("a")

    assert recent.age("a") == 0.0
    assert len(recent) == 1


def test_bound() -> None:
    """When there are too many, the oldest are forgotten, so a flood of names costs no memory."""
    recent: Recent[int] = Recent(FakeClock(), capacity=3)

    for key in (1, 2, 3, 1, 4):
        recent.mark(key)

    assert len(recent) == 3
    assert recent.age(2) is None
    assert recent.age(1) == 0.0
