"""Which images are held, and what is missing of them, as the control socket answers.

An image is what a client asked for: a tag, or a digest that no tag stands for and that is no platform of another image
in the same repository. It is held platform by platform: one whose manifest was never fetched is absent, which is no
fault of the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obol.oci.manifests import is_opaque
from obol.oci.mediatypes import is_distributable, is_index
from obol.registry.control.api import HeldImage, HeldPlatform, Inventory
from obol.registry.store.ports import ContentKind
from obol.registry.upkeep.graph import Graph

if TYPE_CHECKING:
    from obol.oci.manifests import Manifest
    from obol.oci.references import Digest
    from obol.registry.control.api import PlatformState
    from obol.registry.store.ports import KnownManifest, RepositoryKey, Store

DEEPEST = 4
"""Indexes within each other that are looked into."""


@dataclass
class _Named:
    """One digest in one repository, with all the tags that mean it."""

    known: KnownManifest
    tags: list[str] = field(default_factory=list)


@dataclass
class _Tally:
    """What is there of one image, and what is not; each digest counts once."""

    held: dict[Digest, int] = field(default_factory=dict)
    missing: dict[Digest, int] = field(default_factory=dict)


async def take_inventory(store: Store) -> Inventory:
    """Look at every name and at what it leads to. Raises StoreError."""
    named = _by_digest(await store.metadata.known())
    shelf = _Shelf(store)
    images: list[HeldImage] = []
    children: set[tuple[RepositoryKey, Digest]] = set()
    # Indexes before lone manifests, so that their children are known when it comes to those without a tag.
    for entry in named:
        repo, digest = entry.known.repo, entry.known.digest
        manifest = await shelf.manifest(repo, digest)
        if manifest is not None and manifest.is_index:
            children |= {(repo, child.digest) for child in manifest.manifests if not is_index(child.media_type)}
    for entry in named:
        if entry.tags or (entry.known.repo, entry.known.digest) not in children:
            image = await shelf.image(entry)
            if entry.tags or image.platforms:
                images.append(image)
    order = sorted(images, key=lambda image: (image.registry, image.repository, image.tags, image.digest))
    return Inventory(tuple(order))


def _by_digest(known: Iterable[KnownManifest]) -> list[_Named]:
    found: dict[tuple[RepositoryKey, Digest], _Named] = {}
    for one in known:
        entry = found.setdefault((one.repo, one.digest), _Named(one))
        if one.held is not None and one.held.tag not in entry.tags:
            entry.tags.append(str(one.held.tag))
    return list(found.values())


class _Shelf:
    """Looks manifests up, and blobs."""

    def __init__(self, store: Store) -> None:
        self._content = store.content
        self._metadata = store.metadata
        self._graph = Graph(store)

    async def manifest(self, repo: RepositoryKey, digest: Digest) -> Manifest | None:
        """A manifest that is held, may be read in its repository, and is of a kind that we read."""
        grant = await self._metadata.grant(repo, digest, ContentKind.MANIFEST)
        if grant is None or is_opaque(grant.media_type):
            return None
        return await self._graph.manifest(digest, grant.media_type)

    async def image(self, entry: _Named) -> HeldImage:
        """All that a name leads to."""
        repo, digest = entry.known.repo, entry.known.digest
        tally = _Tally()
        manifest = await self.manifest(repo, digest)
        platforms = [] if manifest is None else await self._platforms(repo, digest, manifest, tally)
        there = [platform for platform in platforms if platform.state != "absent"]
        return HeldImage(
            registry=repo.scope,
            repository=str(repo.name),
            tags=tuple(sorted(entry.tags)),
            digest=str(digest),
            complete=bool(there) and not tally.missing,
            size=sum(tally.held.values()),
            missing_blobs=len(tally.missing),
            missing_bytes=sum(tally.missing.values()),
            used_at=entry.known.used_at,
            platforms=tuple(platforms),
        )

    async def _platforms(
        self, repo: RepositoryKey, digest: Digest, manifest: Manifest, tally: _Tally
    ) -> list[HeldPlatform]:
        await self._look(tally, digest)
        if manifest.is_index:
            return await self._children(repo, manifest, tally, DEEPEST)
        return [await self._platform("", digest, manifest, tally)]

    async def _children(self, repo: RepositoryKey, index: Manifest, tally: _Tally, deep: int) -> list[HeldPlatform]:
        found: list[HeldPlatform] = []
        for child in index.manifests if deep else ():
            if child.is_attestation:
                continue
            inner = await self.manifest(repo, child.digest)
            if inner is None:
                found.append(HeldPlatform(str(child.platform or ""), str(child.digest), "absent", 0, 0, 0))
                continue
            await self._look(tally, child.digest)
            if inner.is_index:
                found += await self._children(repo, inner, tally, deep - 1)
            else:
                found.append(await self._platform(str(child.platform or ""), child.digest, inner, tally))
        return found

    async def _platform(self, name: str, digest: Digest, manifest: Manifest, tally: _Tally) -> HeldPlatform:
        blobs = {blob.digest: blob.size for blob in manifest.blobs if is_distributable(blob.media_type)}
        missing = {key: size for key, size in blobs.items() if not await self._look(tally, key)}
        tally.missing |= missing
        state: PlatformState = "partial" if missing else "complete"
        return HeldPlatform(name, str(digest), state, sum(blobs.values()), len(missing), sum(missing.values()))

    async def _look(self, tally: _Tally, digest: Digest) -> bool:
        """Whether the content is held; counts it if so."""
        size = await self._content.size(digest)
        if size is None:
            return False
        tally.held[digest] = size
        return True
