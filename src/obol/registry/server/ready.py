"""Ready answers: what was asked a moment ago is written again without asking the engine.

A ready answer is valid for as long as the engine said, and counted like any other. It is found by every byte of the
request, or else by all in it that may change an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.machine.bounded import Bounded
from obol.registry.server.exchange import PIECE

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.registry.engine.accounts import Counters
    from obol.registry.server.exchange import Rendered
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
class ReadyAnswer:
    """One answer: its head, its body (empty for HEAD), until when it is valid, and what it is counted as."""

    rendered: Rendered
    body: bytes
    until: float
    counters: Counters
    repository: RepositoryKey
    digest: Digest
    is_manifest: bool = False


class ReadyAnswers:
    """The ready answers of one listener, the least recently used leaving first.

    Many requests of different bytes may mean the same, where a client sends another header each time; they push out
    only one another.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._by_bytes: Bounded[bytes, ReadyAnswer] = Bounded(capacity, _weight)
        self._by_meaning: Bounded[Meaning, ReadyAnswer] = Bounded(capacity, _weight)
        self.forgotten = 0
        """How often answers were forgotten."""

    def repeated(self, data: bytes, now: float) -> ReadyAnswer | None:
        """The answer to a request of these bytes at monotonic time `now`, or None."""
        answer = self._by_bytes.get(data)
        if answer is not None and now >= answer.until:
            self._by_bytes.pop(data)
            return None
        return answer

    def find(self, keys: Keys, now: float) -> ReadyAnswer | None:
        """The answer to what a request means, or None; it is known by the request's bytes then, too."""
        answer = self._by_meaning.get(keys.meaning)
        if answer is None:
            return None
        if now >= answer.until:
            self._by_meaning.pop(keys.meaning)
            return None
        self._keep_bytes(keys, answer)
        return answer

    def keep(self, keys: Keys, answer: ReadyAnswer, since: int) -> None:
        """Keep an answer, if it is small enough to be worth it.

        `since`: what `forgotten` was before the engine was asked. If it is more now, the answer may be one of those.
        """
        if since != self.forgotten:
            return
        if _weight(keys.meaning, answer) <= LARGEST:
            self._by_meaning[keys.meaning] = answer
        self._keep_bytes(keys, answer)

    def _keep_bytes(self, keys: Keys, answer: ReadyAnswer) -> None:
        if keys.data is not None and _weight(keys.data, answer) <= LARGEST:
            self._by_bytes[keys.data] = answer

    def forget(self, gone: RepositoryKey | Digest) -> None:
        """Give no answer of a repository, or with some content, again."""
        self.forgotten += 1
        for data, answer in self._by_bytes.items():
            if gone in (answer.repository, answer.digest):
                self._by_bytes.pop(data)
        for meaning, answer in self._by_meaning.items():
            if gone in (answer.repository, answer.digest):
                self._by_meaning.pop(meaning)


def _weight(key: bytes | Meaning, answer: ReadyAnswer) -> int:
    # A character of a header may take four bytes.
    name = len(key) if isinstance(key, bytes) else 4 * sum(len(part or "") for part in key)
    return name + len(answer.body) + len(answer.rendered.after) + 1024
