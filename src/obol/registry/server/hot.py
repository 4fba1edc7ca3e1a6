"""Answers kept ready: what was asked a moment ago is written again without asking the engine.

A hot answer is valid for as long as the engine said, and counted like any other. It is found by all that may change an
answer: every byte of the request.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.registry.server.replies import DRAIN_ABOVE

if TYPE_CHECKING:
    from obol.registry.engine.answers import Document
    from obol.registry.engine.counters import Counters
    from obol.registry.server.replies import Rendered

CAPACITY = 8 * 1024 * 1024
LARGEST = DRAIN_ABOVE
"""Bytes of an answer with its request. What is larger might have to wait for its client to read."""


@dataclass(frozen=True, slots=True)
class Hot:
    """One answer: its head, its body (empty for HEAD), until when it is valid, and how to count it."""

    rendered: Rendered
    body: bytes
    until: float
    counters: Counters
    document: Document | None
    """The manifest that it is, None for a blob."""
    size: int


class HotAnswers:
    """A bounded number of bytes of answers, the least recently used leaving first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._held = 0
        self._answers: OrderedDict[bytes, Hot] = OrderedDict()

    def find(self, key: bytes, now: float) -> Hot | None:
        """The answer to give at monotonic time `now`, or None."""
        hot = self._answers.get(key)
        if hot is None:
            return None
        if now >= hot.until:
            self._drop(key)
            return None
        self._answers.move_to_end(key)
        return hot

    def keep(self, key: bytes, hot: Hot) -> None:
        """Keep an answer, if it is small enough to be worth it."""
        if _weight(key, hot) > LARGEST:
            return
        self._drop(key)
        self._answers[key] = hot
        self._held += _weight(key, hot)
        while self._held > self._capacity:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: bytes) -> None:
        hot = self._answers.pop(key, None)
        if hot is not None:
            self._held -= _weight(key, hot)

    def __len__(self) -> int:
        return len(self._answers)


def _weight(key: bytes, hot: Hot) -> int:
    return len(key) + len(hot.body) + len(hot.rendered.after) + 1024
