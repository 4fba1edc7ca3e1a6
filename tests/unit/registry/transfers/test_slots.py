import pytest

from obol.registry.transfers.slots import LEND_AFTER, WORTH, HeldSlots
from obol.registry.upstream.ports import Unavailable
from obol.registry.upstream.slots import Share, SlotPool
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import FakeSlots


async def test_every_slot_comes_back_once() -> None:
    """No slot is left behind, nor given back too often, by what gives one back twice or ends while it holds some."""
    slots = FakeSlots()
    held = HeldSlots(slots, FakeClock())
    first = await held.first(1.0)
    assert held.more() is not None

    held.release(first)
    held.release(first)
    assert slots.taken == 1
    held.close()
    held.close()

    assert (slots.taken, len(held)) == (0, 0)


async def test_a_quiet_connection_lends_its_slot_until_it_brings_something() -> None:
    """After a while without bytes worth the name others may have the slot; it is taken back when some come."""
    slots, clock = FakeSlots(), FakeClock()
    held = HeldSlots(slots, clock)
    slot = await held.first(1.0)
    held.lend()
    assert slots.lent == 0

    clock.advance(LEND_AFTER)
    held.lend()
    held.lend()
    assert slots.lent == 1
    held.brought(slot, WORTH)
    held.lend()

    assert slots.lent == 0


async def test_a_connection_that_drips_lends_its_slot() -> None:
    """A byte now and then keeps no slot, nor takes it back, until there are as many as are worth one."""
    slots, clock = FakeSlots(), FakeClock()
    held = HeldSlots(slots, clock)
    slot = await held.first(1.0)
    for _ in range(10):
        clock.advance(LEND_AFTER / 10)
        held.brought(slot, 1)
    held.lend()
    assert slots.lent == 1

    held.brought(slot, WORTH - 11)
    assert slots.lent == 1
    held.brought(slot, 1)

    assert slots.lent == 0


async def test_quiet_connections() -> None:
    """A transfer is quiet where it has held, and none of them brings what is worth the name."""
    clock = FakeClock()
    held = HeldSlots(FakeSlots(), clock)
    assert not held.quiet()

    slot = await held.first(1.0)
    await held.first(1.0)
    assert not held.quiet()
    clock.advance(LEND_AFTER)
    held.brought(slot, WORTH - 1)
    assert held.quiet()
    held.brought(slot, 1)

    assert not held.quiet()


async def test_bytes_that_come_after_the_end_take_nothing() -> None:
    """A slot that was given up while its slot was lent has none to take back."""
    slots, clock = FakeSlots(), FakeClock()
    held = HeldSlots(slots, clock)
    slot = await held.first(1.0)
    clock.advance(LEND_AFTER)
    held.lend()

    held.close()
    held.brought(slot, WORTH)

    assert (slots.taken, slots.lent) == (0, 0)


async def test_a_slot_that_was_lent_is_given_back_all_the_same() -> None:
    """The end of a quiet connection changes nothing for the transfer that borrowed its slot."""
    clock = FakeClock()
    slots = SlotPool(several=Share(0, 0), firsts=Share(1, 1), lent=Share(9, 9)).of("a")
    quiet, busy = HeldSlots(slots, clock), HeldSlots(slots, clock)
    slot = await quiet.first(0.01)
    clock.advance(LEND_AFTER)
    quiet.lend()
    await busy.first(0.01)

    quiet.release(slot)
    with pytest.raises(Unavailable):
        await quiet.first(0)

    busy.close()
    await quiet.first(0)


async def test_only_who_has_several_gives_one_back() -> None:
    """A crowd takes nothing from a transfer with one slot."""
    held = HeldSlots(FakeSlots(wanted_by_others=True), FakeClock())
    await held.first(1.0)
    assert not held.crowded()

    await held.first(1.0)

    assert held.crowded()
    assert held.more() is None
