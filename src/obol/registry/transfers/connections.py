"""The connections of one transfer, each of which takes a slot of its upstream.

All slots of a transfer are taken and given back here, so that none is left behind, however the transfer ends. A line
that brings next to nothing for a while lends its slot: blobs that hardly move must not keep others from being fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.registry.upstream.ports import Slots

LEND_AFTER = 2.0
"""Seconds after which the slot of a line is lent that brought less than `WORTH` in them."""
UNWANTED = 1.0
"""Seconds without a follower after which a transfer that is quiet makes room for those that wait."""
WORTH = 16 * 1024
"""Bytes."""


@dataclass(slots=True, eq=False)
class Line:
    """One connection, there or being made."""

    quiet_since: float
    lent: bool = False
    count: int = 0
    """Bytes that came since it was quiet."""


class Lines:
    """What one transfer holds of its upstream's slots."""

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._open: set[Line] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def first(self, within: float) -> Line:
        """Wait for a slot. Raises Unavailable after `within` seconds."""
        await self._slots.first(within)
        return self._new()

    def more(self) -> Line | None:
        """Another line, if there is room for transfers with several."""
        return self._new() if self._slots.more() else None

    def crowded(self) -> bool:
        """Whether a transfer with several lines should give one back."""
        return len(self._open) > 1 and self._slots.crowded()

    def quiet(self) -> bool:
        """Whether there are lines, and all have been quiet for long."""
        return bool(self._open) and all(self._is_quiet(line) for line in self._open)

    def wanted(self) -> bool:
        """Whether other transfers wait for a slot."""
        return self._slots.wanted()

    def brought(self, line: Line, count: int) -> None:
        """So many bytes came by this line."""
        line.count += count
        if line.count < WORTH:
            return
        line.count = 0
        line.quiet_since = self._clock.monotonic()
        self._reclaim(line)

    def lend(self) -> None:
        """Lend the slots of the lines that have been quiet for long."""
        for line in self._open:
            if not line.lent and self._is_quiet(line):
                line.lent = self._slots.lend()

    def leave(self, line: Line) -> None:
        """Give a line's slot back; safe to repeat."""
        if line not in self._open:
            return
        self._open.remove(line)
        self._reclaim(line)
        self._slots.release()

    def close(self) -> None:
        """Give all back; safe to repeat."""
        for line in tuple(self._open):
            self.leave(line)

    def _is_quiet(self, line: Line) -> bool:
        return self._clock.monotonic() - line.quiet_since >= LEND_AFTER

    def _reclaim(self, line: Line) -> None:
        if line.lent:
            line.lent = False
            self._slots.reclaim()

    def _new(self) -> Line:
        line = Line(self._clock.monotonic())
        self._open.add(line)
        return line
