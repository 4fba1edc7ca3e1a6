"""When something last happened, for a bounded number of things, on the monotonic clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from obol.machine.clock import Clock

K = TypeVar("K", bound=Hashable)

CAPACITY = 10_000


class Recent(Generic[K]):
    """Moments by key; the oldest are forgotten when there are too many."""

    def __init__(self, clock: Clock, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._moments: OrderedDict[K, float] = OrderedDict()

    def mark(self, key: K) -> None:
        """It happened now."""
        self._moments[key] = self._clock.monotonic()
        self._moments.move_to_end(key)
        if len(self._moments) > self._capacity:
            self._moments.popitem(last=False)

    def age(self, key: K) -> float | None:
        """Seconds since, or None if it did not happen or was forgotten."""
        moment = self._moments.get(key)
        return None if moment is None else self._clock.monotonic() - moment

    def __len__(self) -> int:
        return len(self._moments)
