"""What the engine answers, for `server` to put into HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.registry.engine.counters import Counters
    from obol.registry.store.ports import Readable, RepositoryKey


class Source(StrEnum):
    """Where an answer came from, as told in the `Obol-Cache` header; a blob that is on its way is `filling` besides."""

    HIT = "hit"
    MISS = "miss"
    REVALIDATED = "revalidated"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest of `size` bytes: its `body` or, where it is large, the open file, which whoever gets it closes.

    Where only the head was asked for there is neither. `fresh_for`: seconds for which the same answer may be given
    again without asking the engine; None for good.
    """

    repo: RepositoryKey
    digest: Digest
    media_type: str
    size: int
    source: Source
    fresh_for: float | None
    body: bytes = b""
    content: Readable | None = None

    @property
    def length(self) -> int:
        """Bytes that the client is given."""
        return self.size if self.body or self.content is not None else 0

    def close(self) -> None:
        """Give the file back, if there is one; safe to repeat."""
        if self.content is not None:
            self.content.close()


@dataclass(frozen=True, slots=True)
class DocumentHead:
    """What is known of a manifest whose bytes we do not hold."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `next_page` is the target of Link rel="next" at our own address."""

    body: bytes
    media_type: str
    source: Source
    next_page: str | None = None
    filtered: bool = False


class CutShort(Exception):
    """The rest of the bytes will not come; the connection has to be closed so that the client notices."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A complete, verified blob; whoever gets it closes `content`."""

    digest: Digest
    content: Readable
    counters: Counters
