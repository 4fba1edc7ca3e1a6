from __future__ import annotations

import asyncio

import pytest

from obol.demo.origin import FIRST_PIECE, PIECE, LinkConnection, SlowLink, pieces
from tests.fakes.clock import FakeClock


async def body(connection: LinkConnection, size: int) -> None:
    """Carry a body as a server does."""
    async with connection:
        for start, stop in pieces(0, size):
            await connection.carry(stop - start)


@pytest.mark.parametrize(("total", "each", "seconds"), [(8e6, None, 1.0), (8e6, 2e6, 4.0), (None, 4e6, 2.0)])
async def test_the_slower_limit_holds(total: float | None, each: float | None, seconds: float) -> None:
    """A body takes as long as the slower of the link and its connection needs."""
    clock = FakeClock()

    await body(SlowLink(total, each, clock=clock).connection(), 1_000_000)

    assert clock.now - 1000.0 == pytest.approx(seconds, rel=0.02)


async def test_connections_share_the_link() -> None:
    """Three bodies at once take as long as one of their length."""
    clock = FakeClock()
    link = SlowLink(8e6, clock=clock)

    await asyncio.gather(*(body(link.connection(), 1_000_000) for _ in range(3)))

    # The clock sums the sleeps of all, so what is exact here is only the last moment that the link gave out.
    assert clock.now - 1000.0 >= 2.9


async def test_without_limits_nobody_waits() -> None:
    """A link without limits and latency costs no time."""
    clock = FakeClock()
    connection = SlowLink(clock=clock).connection()

    await connection.round_trip()
    await body(connection, 10_000_000)

    assert clock.sleeps == []


async def test_latency() -> None:
    """A round trip takes the latency, as it is at that moment."""
    clock = FakeClock()
    link = SlowLink(latency=0.02, clock=clock)
    connection = link.connection()

    await connection.round_trip()
    link.latency = 0.5
    await connection.round_trip()

    assert clock.sleeps == [0.02, 0.5]


async def test_idle_time_is_not_saved_up() -> None:
    """After a pause a body is as slow as one before it."""
    clock = FakeClock()
    connection = SlowLink(8e6, 8e6, clock=clock).connection()
    await body(connection, 100_000)
    clock.advance(60.0)
    since = clock.now

    await body(connection, 1_000_000)

    assert clock.now - since == pytest.approx(1.0, rel=0.02)


async def test_lateness_is_made_good() -> None:
    """A wake-up that comes late does not slow a body down: the pieces after it leave sooner."""

    class Late(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds + 0.003)

    clock = Late()

    await body(SlowLink(8e6, clock=clock).connection(), 1_000_000)

    assert clock.now - 1000.0 == pytest.approx(1.0, abs=0.01)


def test_pieces() -> None:
    """A body is cut without gaps; its first piece is small, so that the first byte is not late."""
    cut = list(pieces(10, 10 + FIRST_PIECE + PIECE + 1))

    assert [stop - start for start, stop in cut] == [FIRST_PIECE, PIECE, 1]
    assert (cut[0][0], cut[-1][1]) == (10, 10 + FIRST_PIECE + PIECE + 1)
    assert list(pieces(5, 5)) == []
