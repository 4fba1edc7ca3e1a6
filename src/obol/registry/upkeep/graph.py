"""What needs what: a manifest its children, from the edges that are stored with it.

Older versions stored manifests without their edges, and an index that was repaired has lost them. So a manifest without
edges is read and recorded: at once where the graph is asked for it, else by `catch_up`, beside requests. Each is
recorded by itself, so that an interrupted `catch_up` goes on where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.machine.tasks import in_steps
from obol.oci.errors import OciError
from obol.oci.manifests import MAX_MANIFEST, VAGUE, is_opaque, opaque, reading
from obol.oci.mediatypes import bare

if TYPE_CHECKING:
    from obol.oci.manifests import Manifest
    from obol.oci.references import Digest
    from obol.registry.store.ports import Store


class Graph:
    """The edges of one store."""

    def __init__(self, store: Store) -> None:
        self._content = store.content
        self._metadata = store.metadata

    async def manifest(self, digest: Digest, said: str) -> Manifest | None:
        """What a manifest refers to that was `said` to be of a type; None where no such manifest is held.

        Raises StoreError.
        """
        if await self._content.size(digest) is None:
            return None
        found = await self._metadata.edges(digest) or await self._read(digest, said)
        return found if found is None or bare(said) in VAGUE | {found.media_type} else None

    async def catch_up(self) -> int:
        """Record the edges of all manifests that have none; tells how many. Raises StoreError."""
        missing = await self._metadata.without_edges()
        return sum([await self._read(digest, said) is not None for digest, said in missing])

    async def _read(self, digest: Digest, said: str) -> Manifest | None:
        size = await self._content.size(digest)
        # An index may call anything a manifest, a layer of gigabytes too: that is never read.
        body = await self._content.read(digest) if size is not None and size <= MAX_MANIFEST else None
        if body is None:
            return None
        try:
            manifest = opaque(said) if is_opaque(said) else await in_steps(reading(body, said))
        except OciError:
            return None
        await self._metadata.add_edges(digest, manifest)
        return manifest
