from __future__ import annotations

import pytest

from obol.registry.engine.counters import Counters

MIB = 1024 * 1024


def test_counters_start_at_nothing() -> None:
    """A new engine has counted nothing and knows no throughput."""
    counters = Counters()

    assert (counters.hit, counters.miss, counters.stale, counters.error) == (0, 0, 0, 0)
    assert counters.throughput() is None


@pytest.mark.parametrize(
    ("size", "seconds", "expected"),
    [(MIB - 1, 1.0, None), (MIB, 0.0, None), (MIB, 0.5, 2.0 * MIB), (10 * MIB, 5.0, 2.0 * MIB)],
)
def test_throughput(size: int, seconds: float, expected: float | None) -> None:
    """Bytes a second are told once a mebibyte has come in a time that can be measured."""
    assert Counters(fill_bytes=size, fill_seconds=seconds).throughput() == expected
