from __future__ import annotations

from obol.machine.waiting import SystemWaiting
from tests.limits import scaled


def test_pause_lets_time_pass() -> None:
    """After a pause it is later, by about as much."""
    waiting = SystemWaiting()
    before = waiting.monotonic()

    waiting.pause(0.01)

    assert 0.01 <= waiting.monotonic() - before < scaled(1)
