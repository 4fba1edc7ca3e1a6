"""Answers kept ready: what was asked a moment ago is written again without asking the engine.

A hot answer is valid for as long as the engine said. It is counted like any other, and found by all that may change an
answer: the method, the raw target, the Host and the Accept lines; requests with conditions or ranges are never hot.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.registry.engine.answers import Document
    from obol.registry.engine.counters import Counters
    from obol.registry.server.replies import Rendered

CAPACITY = 8 * 1024 * 1024
LARGEST = 512 * 1024

HotKey = tuple[str, str, str | None, str | None]


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
        self._answers: OrderedDict[HotKey, Hot] = OrderedDict()

    def find(self, key: HotKey, now: float) -> Hot | None:
        """The answer to give at monotonic time `now`, or None."""
        hot = self._answers.get(key)
        if hot is None:
            return None
        if now >= hot.until:
            self._drop(key)
            return None
        self._answers.move_to_end(key)
        return hot

    def keep(self, key: HotKey, hot: Hot) -> None:
        """Keep an answer, if it is small enough to be worth it."""
        if len(hot.body) > LARGEST:
            return
        self._drop(key)
        self._answers[key] = hot
        self._held += _weight(key, hot)
        while self._held > self._capacity:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: HotKey) -> None:
        hot = self._answers.pop(key, None)
        if hot is not None:
            self._held -= _weight(key, hot)

    def clear(self) -> None:
        """Forget all, because content or names changed otherwise than by time."""
        self._answers.clear()
        self._held = 0

    def __len__(self) -> int:
        return len(self._answers)


def _weight(key: HotKey, hot: Hot) -> int:
    return len(hot.body) + len(hot.rendered.after) + sum(len(part or "") for part in key) + 1024
