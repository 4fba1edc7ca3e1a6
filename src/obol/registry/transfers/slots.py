"""The slots of its upstream that one transfer holds, one for each connection, there or being made.

All are taken and given back here, so that none is left behind, however the transfer ends. A connection that brings next
to nothing for a while lends its slot: blobs that hardly move must not keep others from being fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.registry.upstream.slots import UpstreamSlots

LEND_AFTER = 2.0
"""Seconds after which a connection lends its slot if it brought less than `WORTH` in them."""
WORTH = 16 * 1024
"""Bytes."""


@dataclass(slots=True, eq=False)
class HeldSlot:
    """A slot of the upstream, for one connection that is there or being made."""

    quiet_since: float
    lent: bool = False
    count: int = 0
    """Bytes that came since the connection was quiet."""


class HeldSlots:
    """What one transfer holds."""

    def __init__(self, slots: UpstreamSlots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._held: set[HeldSlot] = set()

    def __len__(self) -> int:
        return len(self._held)

    async def first(self, within: float) -> HeldSlot:
        """Wait for a slot. Raises Unavailable after `within` seconds."""
        await self._slots.first(within)
        return self._new()

    def more(self) -> HeldSlot | None:
        """Another slot, if there is room for transfers with several."""
        return self._new() if self._slots.more() else None

    def crowded(self) -> bool:
        """Whether a transfer with several slots should give one back."""
        return len(self._held) > 1 and self._slots.crowded()

    def quiet(self) -> bool:
        """Whether there are connections, and all have been quiet for long."""
        return bool(self._held) and all(self._is_quiet(slot) for slot in self._held)

    def brought(self, slot: HeldSlot, count: int) -> None:
        """So many bytes came by the connection of this slot."""
        slot.count += count
        if slot.count < WORTH:
            return
        slot.count = 0
        slot.quiet_since = self._clock.monotonic()
        self._reclaim(slot)

    def lend(self) -> None:
        """Lend the slots of connections that have been quiet for long."""
        for slot in self._held:
            if not slot.lent and self._is_quiet(slot):
                slot.lent = self._slots.lend()

    def release(self, slot: HeldSlot) -> None:
        """Give a slot back; safe to repeat."""
        if slot not in self._held:
            return
        self._held.remove(slot)
        self._reclaim(slot)
        self._slots.release()

    def close(self) -> None:
        """Give all back; safe to repeat."""
        for slot in tuple(self._held):
            self.release(slot)

    def _is_quiet(self, slot: HeldSlot) -> bool:
        return self._clock.monotonic() - slot.quiet_since >= LEND_AFTER

    def _reclaim(self, slot: HeldSlot) -> None:
        if slot.lent:
            slot.lent = False
            self._slots.reclaim()

    def _new(self) -> HeldSlot:
        slot = HeldSlot(self._clock.monotonic())
        self._held.add(slot)
        return slot
