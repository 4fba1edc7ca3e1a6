from obol.machine.polling import Polling
from tests.fakes.clock import FakeClock


async def test_looks_until_the_time_is_over() -> None:
    """The first look is at once, the others follow at equal times, and the last one is when the time is over."""
    clock = FakeClock()

    assert [passed async for passed in Polling(clock, every=1.0, within=2.5)] == [0.0, 1.0, 2.0, 3.0]
    assert clock.sleeps == [1.0, 1.0, 1.0]


def test_blocks_where_there_is_no_loop() -> None:
    """A plain loop does the same, and blocks its thread meanwhile."""
    clock = FakeClock()

    assert list(Polling(clock, every=1.0, within=2.0)) == [0.0, 1.0, 2.0]
    assert clock.pauses == [1.0, 1.0]


async def test_a_slow_look_counts() -> None:
    """What a look takes is part of the time; a look that takes all of it is the only one."""
    clock, looks = FakeClock(), 0
    async for _ in Polling(clock, every=1.0, within=5.0):
        looks += 1
        clock.advance(5.0)

    assert (looks, clock.sleeps) == (1, [])
