from __future__ import annotations

import pytest

from obol.registry.transfers.connections import LEND_AFTER, WORTH, Lines
from obol.registry.upstream.ports import Unavailable
from obol.registry.upstream.slots import Share, SlotPool
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import FakeSlots


async def test_every_slot_comes_back_once() -> None:
    """Whoever leaves twice, and a transfer that ends with lines open, leave no slot behind and give none too many."""
    slots = FakeSlots()
    lines = Lines(slots, FakeClock())
    first = await lines.first(1.0)
    assert lines.more() is not None

    lines.leave(first)
    lines.leave(first)
    assert slots.taken == 1
    lines.close()
    lines.close()

    assert (slots.taken, len(lines)) == (0, 0)


async def test_a_quiet_line_lends_its_slot_until_it_brings_something() -> None:
    """After a while without bytes worth the name others may have the slot; it is taken back when some come."""
    slots, clock = FakeSlots(), FakeClock()
    lines = Lines(slots, clock)
    line = await lines.first(1.0)
    lines.lend()
    assert slots.lent == 0

    clock.advance(LEND_AFTER)
    lines.lend()
    lines.lend()
    assert slots.lent == 1
    lines.brought(line, WORTH)
    lines.lend()

    assert slots.lent == 0


async def test_a_line_that_drips_lends_its_slot() -> None:
    """A byte now and then keeps no slot, nor takes it back, until there are as many as are worth one."""
    slots, clock = FakeSlots(), FakeClock()
    lines = Lines(slots, clock)
    line = await lines.first(1.0)
    for _ in range(10):
        clock.advance(LEND_AFTER / 10)
        lines.brought(line, 1)
    lines.lend()
    assert slots.lent == 1

    lines.brought(line, WORTH - 11)
    assert slots.lent == 1
    lines.brought(line, 1)

    assert slots.lent == 0


async def test_quiet_lines() -> None:
    """A transfer is quiet where it has lines, and none of them brings what is worth the name."""
    clock = FakeClock()
    lines = Lines(FakeSlots(), clock)
    assert not lines.quiet()

    line = await lines.first(1.0)
    await lines.first(1.0)
    assert not lines.quiet()
    clock.advance(LEND_AFTER)
    lines.brought(line, WORTH - 1)
    assert lines.quiet()
    lines.brought(line, 1)

    assert not lines.quiet()


async def test_bytes_that_come_after_the_end_take_nothing() -> None:
    """A line that was given up while its slot was lent has none to take back."""
    slots, clock = FakeSlots(), FakeClock()
    lines = Lines(slots, clock)
    line = await lines.first(1.0)
    clock.advance(LEND_AFTER)
    lines.lend()

    lines.close()
    lines.brought(line, WORTH)

    assert (slots.taken, slots.lent) == (0, 0)


async def test_a_line_that_was_lent_leaves_all_the_same() -> None:
    """The end of a quiet line changes nothing for whoever has its slot."""
    clock = FakeClock()
    slots = SlotPool(several=Share(0, 0), firsts=Share(1, 1), lent=Share(9, 9)).of("a")
    quiet, busy = Lines(slots, clock), Lines(slots, clock)
    line = await quiet.first(0.01)
    clock.advance(LEND_AFTER)
    quiet.lend()
    await busy.first(0.01)

    quiet.leave(line)
    with pytest.raises(Unavailable):
        await quiet.first(0)

    busy.close()
    await quiet.first(0)


async def test_only_who_has_several_gives_one_back() -> None:
    """A crowd takes nothing from a transfer with one line."""
    lines = Lines(FakeSlots(wanted_by_others=True), FakeClock())
    await lines.first(1.0)
    assert not lines.crowded()

    await lines.first(1.0)

    assert lines.crowded()
    assert lines.more() is None
