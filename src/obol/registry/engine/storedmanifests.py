"""Stored manifests: what they are is found out once, and large ones are never taken into memory again.

A descriptor in an index may call any digest a manifest, so the bytes have to prove it before they are served as one.
The proof reads and parses them, which takes longer for a large one than the event loop can be kept from others; so its
outcome is remembered, and a hit only opens the file. A manifest that we fetched was read then, and has its proof.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.machine.bounded import Bounded
from obol.machine.flights import Flights
from obol.oci.errors import OciError
from obol.oci.manifests import MAX_MANIFEST, stored_type

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.registry.store.ports import Content, Readable

IN_MEMORY = 60 * 1024
"""Bytes of a manifest that is answered from memory; a larger one is sent as a file."""
REMEMBERED = 8192
"""Outcomes of proofs: a few MiB."""
AT_ONCE = 2
"""Large manifests that are read for a proof; each takes its own length of memory meanwhile."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A stored manifest: its bytes, or the open file, which the caller closes, or neither for a HEAD."""

    media_type: str
    size: int
    body: bytes = b""
    content: Readable | None = None


class StoredManifests:
    """Manifests in the store."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._proofs: Bounded[tuple[Digest, str], str] = Bounded(REMEMBERED)
        """The type of what is a manifest, "" for what is none."""
        self._proving: Flights[tuple[Digest, str], str | None] = Flights(AT_ONCE)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, digest: Digest, said: str, *, head: bool) -> StoredManifest | None:
        """The manifest, which its descriptor or its upstream `said` to be of a type; None where we do not hold one.

        Raises StoreError.
        """
        size = await self._content.size(digest)
        # An index may name anything, a layer of gigabytes too: that is never read.
        if size is None or size > MAX_MANIFEST:
            return None
        if size <= IN_MEMORY and not head:
            return await self._small(digest, said)
        media_type = await self._proof(digest, said)
        if media_type is None:
            return None
        if head:
            return StoredManifest(media_type, size)
        content = await self._content.open(digest)
        return None if content is None else StoredManifest(media_type, content.size, content=content)

    def proved(self, digest: Digest, said: str, media_type: str | None) -> None:
        """Remember what the bytes of a digest are, for those who say that they are of type `said`."""
        self._proofs[digest, said] = media_type or ""

    async def _small(self, digest: Digest, said: str) -> StoredManifest | None:
        body = await self._content.read(digest)
        if body is None:
            return None
        if (media_type := self._proofs.get((digest, said))) is None:
            media_type = _type_of(body, said) or ""
            self.proved(digest, said, media_type)
        return StoredManifest(media_type, len(body), body) if media_type else None

    async def _proof(self, digest: Digest, said: str) -> str | None:
        if (known := self._proofs.get((digest, said))) is not None:
            return known or None
        return await self._proving.join((digest, said), lambda: self._prove(digest, said))

    async def _prove(self, digest: Digest, said: str) -> str | None:
        async with self._turns:
            body = await self._content.read(digest)
            if body is None:
                return None
            media_type = await asyncio.to_thread(_type_of, body, said)
            self.proved(digest, said, media_type)
            return media_type

    async def close(self) -> None:
        """Stop what is being read."""
        await self._proving.close()


def _type_of(body: bytes, said: str) -> str | None:
    try:
        return stored_type(body, said)
    except OciError:
        return None
