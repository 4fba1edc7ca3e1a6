"""How a blob is split over connections, and what has arrived.

A blob is cut into segments of equal length, taken in order, so that the contiguous prefix (the *frontier*) grows
steadily and followers wait little. What a broken connection leaves over is taken again before anything new.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.registry.settings import TransferSettings

UNSIZED = 1 << 62
"""Where a blob ends for all we know, if the upstream has not said how long it is."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """Bytes `start` to `stop` (half-open) of a blob."""

    start: int
    stop: int


def connections(size: int, settings: TransferSettings) -> int:
    """How many connections are worth opening for `size` bytes that are left: one, or one a segment up to the limit."""
    if size <= settings.segmented_above:
        return 1
    return min(settings.connections_per_fill, -(-size // settings.segment))


@dataclass(slots=True)
class SegmentMap:
    """Which bytes of one blob are there, being fetched, or still to be taken; `size` is None while it is not known."""

    size: int | None
    length: int
    frontier: int = 0
    """Where the gapless beginning ends."""
    _next: int = 0
    _returned: list[Segment] = field(default_factory=list)
    _islands: list[Segment] = field(default_factory=list)
    """Written runs beyond the frontier, in the order of their starts."""

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        return self.frontier >= self._end

    @property
    def beyond(self) -> int:
        """Bytes that are there behind a gap."""
        return sum(island.stop - island.start for island in self._islands)

    @property
    def _end(self) -> int:
        return UNSIZED if self.size is None else self.size

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to take (some may still be on its way)."""
        taken = max(self._next, self.frontier)
        return taken >= self._end and all(left.stop <= self.frontier for left in self._returned)

    def whole(self) -> Segment:
        """All of the blob, as a plain GET brings it."""
        return Segment(0, self._end)

    def take(self) -> Segment | None:
        """The next segment to download, or None. Bytes before the frontier are there, however they came."""
        while self._returned:
            segment = self._returned.pop(0)
            if segment.stop > self.frontier:
                return Segment(max(segment.start, self.frontier), segment.stop)
        self._next = max(self._next, self.frontier)
        if self._next >= self._end:
            return None
        segment = Segment(self._next, min(self._next + self.length, self._end))
        self._next = segment.stop
        return segment

    def give_back(self, segment: Segment) -> None:
        """What could not be fetched of a segment that was taken."""
        if segment.start < segment.stop:
            insort(self._returned, segment)

    def wrote(self, start: int, stop: int) -> bool:
        """Bytes arrived; tells whether the frontier moved."""
        if start > self.frontier:
            self._add_island(start, stop)
            return False
        before = self.frontier
        self.frontier = max(self.frontier, stop)
        while self._islands and self._islands[0].start <= self.frontier:
            self.frontier = max(self.frontier, self._islands.pop(0).stop)
        return self.frontier > before

    def _add_island(self, start: int, stop: int) -> None:
        for at, island in enumerate(self._islands):
            if island.stop == start:
                self._islands[at] = Segment(island.start, stop)
                return
        insort(self._islands, Segment(start, stop))
