"""Maps that do not grow without end, however much clients and upstreams make us remember."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from obol.machine.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """A map of at most `capacity` entries: the least recently used one leaves first.

    With `weigh` an entry counts as so much, and `capacity` is the sum of all.
    """

    def __init__(self, capacity: float, weigh: Callable[[K, V], float] | None = None) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._weight: float = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value of a key, which is the most recently used one from now on; None where there is none."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key)
        self._entries[key] = value
        self._weight += self._weigh(key, value) if self._weigh else 1
        while self._weight > self._capacity:
            self.pop(next(iter(self._entries)))

    def pop(self, key: K) -> V | None:
        """Forget a key; gives its value, None where there was none."""
        found = self._entries.pop(key, None)
        if found is not None:
            self._weight -= self._weigh(key, found) if self._weigh else 1
        return found

    def items(self) -> list[tuple[K, V]]:
        """All entries as they are now, the least recently used one first."""
        return list(self._entries.items())

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)


class Recent(Generic[K]):
    """When something last happened, for a bounded number of things, on the monotonic clock."""

    def __init__(self, clock: Clock, capacity: int = 10_000) -> None:
        self._clock = clock
        self._moments: Bounded[K, float] = Bounded(capacity)

    def mark(self, key: K) -> None:
        """It happened now."""
        self._moments[key] = self._clock.monotonic()

    def age(self, key: K) -> float | None:
        """Seconds since it happened; None where it did not, or was forgotten."""
        moment = self._moments.get(key)
        return None if moment is None else self._clock.monotonic() - moment

    def __len__(self) -> int:
        return len(self._moments)
