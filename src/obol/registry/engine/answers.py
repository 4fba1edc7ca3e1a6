"""What the engine answers, for `server` to put into HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.registry.control.api import Source
    from obol.registry.store.ports import Readable, RepositoryKey


@dataclass(frozen=True, slots=True)
class ManifestAnswer:
    """A manifest of `size` bytes: its `body` or, where it is large, the open file, which the caller closes.

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

    def close(self) -> None:
        """Give the file back, if there is one; safe to repeat."""
        if self.content is not None:
            self.content.close()


@dataclass(frozen=True, slots=True)
class HeadAnswer:
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


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A complete, verified blob; the caller closes `content`."""

    repo: RepositoryKey
    digest: Digest
    content: Readable


@dataclass(frozen=True, slots=True)
class BlobHead:
    """The size of a blob that a GET would give, and where its bytes would come from."""

    size: int
    source: Source
