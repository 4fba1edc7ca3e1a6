"""How far images are on their way into the store, worked out when a command asks; its JSON is on the control socket.

Nothing is counted for it otherwise. A command that shows progress asks several times a second: so manifests are
remembered by their digest, and what is stored of a blob is looked up again only now and then, unless it is on its way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.machine.bounded import Bounded
from obol.machine.tasks import in_steps
from obol.oci.errors import OciError
from obol.oci.manifests import Manifest, Platform, choose, reading
from obol.oci.mediatypes import is_distributable, is_index
from obol.oci.references import Digest, ImageReference
from obol.registry.control.api import MOST_IMAGES, ImageProgress, ProgressStatus, TransferStatus
from obol.registry.store.ports import transfer_id

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.oci.manifests import Descriptor
    from obol.registry.control.api import ProgressRequest
    from obol.registry.engine.blobs import Blobs
    from obol.registry.engine.scopes import Scopes
    from obol.registry.store.ports import RepositoryKey, Store
    from obol.registry.transfers.transfer import Transfer

DEEPEST = 4
"""Indexes within each other that are looked into."""
LARGEST = 1024 * 1024
MOST_NAMED = 1000
"""Bytes of a manifest, and what it may name: to look after more costs more than it is worth to a person who watches."""
MANIFESTS = 128
"""Remembered."""
LOOK_AGAIN = 1.0
"""Seconds after which a blob that was missing is looked for again."""
BELIEVED = 10.0
"""Seconds for which a blob that was there counts as there."""


@dataclass(frozen=True, slots=True)
class _Blob:
    """How much of a blob is there."""

    present: int
    kept: int
    until: float
    """When to look again."""


class ProgressTaker:
    """Works progress out."""

    def __init__(self, scopes: Scopes, store: Store, blobs: Blobs, clock: Clock) -> None:
        self._scopes = scopes
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._manifests: Bounded[Digest, Manifest] = Bounded(MANIFESTS)
        self._known: dict[tuple[str, Digest], _Blob] = {}

    async def of(self, wanted: ProgressRequest) -> ProgressStatus:
        """How far these images are. Raises ValueError for what is no platform or too much, StoreError."""
        if len(wanted.images) > MOST_IMAGES:
            raise ValueError(f"no more than {MOST_IMAGES} images at a time")
        platforms = [_platform(text) for text in wanted.platforms]
        transfers = {(transfer.repo.scope, transfer.digest): transfer for transfer in self._blobs.transfers}
        counted: set[tuple[str, Digest]] = set()
        asked: set[tuple[str, Digest]] = set()
        images = []
        for text in wanted.images:
            blobs = await self._blobs_of(text, platforms)
            images.append(await self._image(text, blobs, transfers, counted))
            asked |= set(blobs or ())
        self._known = {key: known for key, known in self._known.items() if key in asked and key not in transfers}
        now = self._clock.monotonic()
        return ProgressStatus(os.getpid(), tuple(images), tuple(_transfer(one, now) for one in transfers.values()))

    async def _image(
        self,
        text: str,
        blobs: dict[tuple[str, Digest], int] | None,
        transfers: dict[tuple[str, Digest], Transfer],
        counted: set[tuple[str, Digest]],
    ) -> ImageProgress:
        if blobs is None:
            return ImageProgress(text, None, 0, 0, 0, 0, 0)
        found = {key: await self._blob(key, size, transfers.get(key)) for key, size in blobs.items()}
        own = blobs.keys() - counted
        counted |= own
        return ImageProgress(
            reference=text,
            total=sum(blobs.values()),
            present=sum(one.present for one in found.values()),
            kept=sum(one.kept for one in found.values()),
            own_total=sum(blobs[key] for key in own),
            own_present=sum(found[key].present for key in own),
            transfers=len(blobs.keys() & transfers.keys()),
        )

    async def _blob(self, key: tuple[str, Digest], size: int, transfer: Transfer | None) -> _Blob:
        now = self._clock.monotonic()
        if transfer is not None:
            return _Blob(min(transfer.arrived, size), min(transfer.frontier, size), now)
        known = self._known.get(key)
        if known is not None and now < known.until:
            return known
        registry, digest = key
        if await self._store.content.size(digest) is not None:
            found = _Blob(size, size, now + BELIEVED)
        else:
            left = min(await self._store.partials.left(transfer_id(digest, registry)), size)
            found = _Blob(left, left, now + LOOK_AGAIN)
        self._known[key] = found
        return found

    async def _blobs_of(self, text: str, platforms: Sequence[Platform]) -> dict[tuple[str, Digest], int] | None:
        """The blobs of an image, by registry and digest, with their sizes; None where that is not known."""
        try:
            reference = ImageReference.parse(text)
        except OciError:
            return None
        scope = self._scopes.get(reference.registry)
        if scope is None:
            return None
        repo = scope.key(reference.repository)
        top = await self._top(repo, reference)
        if top is None:
            return None
        leaves = await self._leaves(top, platforms)
        if not leaves:
            return None
        named = (blob for leaf in leaves for blob in leaf.blobs if is_distributable(blob.media_type))
        return {(scope.registry, blob.digest): blob.size for blob in named}

    async def _top(self, repo: RepositoryKey, reference: ImageReference) -> Manifest | None:
        if reference.digest is not None:
            return await self._manifest(reference.digest, "")
        assert reference.tag is not None
        held = await self._store.metadata.tag(repo, reference.tag, "")
        return None if held is None else await self._manifest(held.digest, held.media_type)

    async def _leaves(self, top: Manifest, platforms: Sequence[Platform]) -> list[Manifest]:
        """The images that are meant, as far as their manifests are held; none where one of a wanted platform is not."""
        if not top.is_index:
            return [top]
        children = await self._children(top, DEEPEST)
        chosen: Iterable[Descriptor] = children
        if platforms:
            chosen = [child for wanted in platforms if (child := choose(children, wanted)) is not None]
        found = [await self._manifest(child.digest, child.media_type) for child in chosen]
        held = [manifest for manifest in found if manifest is not None and not manifest.is_index]
        return held if not platforms or len(held) == len(found) else []

    async def _children(self, index: Manifest, deep: int) -> list[Descriptor]:
        found: list[Descriptor] = []
        for child in index.manifests if deep else ():
            if child.is_attestation:
                continue
            if not is_index(child.media_type):
                found.append(child)
            elif (inner := await self._manifest(child.digest, child.media_type)) is not None:
                found += await self._children(inner, deep - 1)
        return found

    async def _manifest(self, digest: Digest, media_type: str) -> Manifest | None:
        """A manifest that is held; other content of this digest is none."""
        if (known := self._manifests.get(digest)) is not None:
            return known
        size = await self._store.content.size(digest)
        body = await self._store.content.read(digest) if size is not None and size <= LARGEST else None
        if body is None:
            return None
        try:
            manifest = await in_steps(reading(body, media_type))
        except OciError:
            return None
        if len(manifest.blobs) + len(manifest.manifests) > MOST_NAMED:
            return None
        self._manifests[digest] = manifest
        return manifest


def _platform(text: str) -> Platform:
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise ValueError(f"{text!r} is not a platform")
    return Platform(*parts)


def _transfer(transfer: Transfer, now: float) -> TransferStatus:
    return TransferStatus(
        registry=transfer.repo.scope,
        repository=str(transfer.repo.name),
        digest=str(transfer.digest),
        size=transfer.size,
        frontier=transfer.frontier,
        arrived=transfer.arrived,
        held=transfer.held,
        seconds=round(now - transfer.began_at, 3),
    )
