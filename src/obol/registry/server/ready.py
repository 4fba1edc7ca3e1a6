"""Answers kept ready: what was asked a moment ago is written again without asking the engine.

A hot answer is valid for as long as the engine said, and counted like any other. It is found by every byte of the
request, or else by all in it that may change an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from obol.registry.server.replies import PIECE

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.registry.engine.counters import Counters
    from obol.registry.server.replies import Rendered
    from obol.registry.store.ports import RepositoryKey

Meaning = tuple[str, str, str | None, str | None]
"""The method, the raw target, the Host and the values of Accept."""
CAPACITY = 4 * 1024 * 1024
"""Bytes of the answers by one kind of key."""
LARGEST = PIECE
"""Bytes of an answer with its request. What is larger might have to wait for its client to read."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What the answer to a request may be kept under: what it means and, where they may be kept, all of its bytes."""

    meaning: Meaning
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Hot:
    """One answer: its head, its body (empty for HEAD), until when it is valid, and how to count it."""

    rendered: Rendered
    body: bytes
    until: float
    counters: Counters
    manifest: tuple[RepositoryKey, Digest] | None
    """Which manifest it is, None for a blob."""
    digest: Digest | None = None
    """Of the content that the body is."""


K = TypeVar("K", bytes, Meaning)


class HotAnswers(Generic[K]):
    """A bounded number of bytes of answers by one kind of key, the least recently used leaving first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._held = 0
        self._answers: OrderedDict[K, Hot] = OrderedDict()

    def find(self, key: K, now: float) -> Hot | None:
        """The answer to give at monotonic time `now`, or None."""
        hot = self._answers.get(key)
        if hot is None:
            return None
        if now >= hot.until:
            self._drop(key)
            return None
        self._answers.move_to_end(key)
        return hot

    def keep(self, key: K, hot: Hot) -> None:
        """Keep an answer, if it is small enough to be worth it."""
        weight = _weight(key, hot)
        if weight > LARGEST:
            return
        self._drop(key)
        self._answers[key] = hot
        self._held += weight
        while self._held > self._capacity:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: K) -> None:
        hot = self._answers.pop(key, None)
        if hot is not None:
            self._held -= _weight(key, hot)

    def __len__(self) -> int:
        return len(self._answers)


class Ready:
    """The hot answers of one listener.

    Bytes that mean the same are many where a client sends another header each time: they push out one another only.
    """

    def __init__(self) -> None:
        self._by_bytes: HotAnswers[bytes] = HotAnswers()
        self._by_meaning: HotAnswers[Meaning] = HotAnswers()

    def repeated(self, data: bytes, now: float) -> Hot | None:
        """The answer to a request of these bytes at monotonic time `now`, or None."""
        return self._by_bytes.find(data, now)

    def find(self, keys: Keys, now: float) -> Hot | None:
        """The answer to what a request means, or None; it is known by the request's bytes then, too."""
        hot = self._by_meaning.find(keys.meaning, now)
        if hot is not None and keys.data is not None:
            self._by_bytes.keep(keys.data, hot)
        return hot

    def keep(self, keys: Keys, hot: Hot) -> None:
        """Keep an answer, if it is small enough to be worth it."""
        self._by_meaning.keep(keys.meaning, hot)
        if keys.data is not None:
            self._by_bytes.keep(keys.data, hot)

    def clear(self) -> None:
        """Forget all of them."""
        self._by_bytes = HotAnswers()
        self._by_meaning = HotAnswers()

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._by_bytes) + len(self._by_meaning)


def _weight(key: bytes | Meaning, hot: Hot) -> int:
    # A character of a header may take four bytes.
    name = len(key) if isinstance(key, bytes) else 4 * sum(len(part or "") for part in key)
    return name + len(hot.body) + len(hot.rendered.after) + 1024
