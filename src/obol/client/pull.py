"""Pulling one image: its manifests, then its blobs, several at a time, each verified while it streams.

Who pulls many images reads the manifests of all of them first, which are small: then it is known how much is to come.
No blob is fetched before it is known that every platform that was asked for is there. Large blobs begin first, so that
the longest does not come last. Memory is a few buffers for each connection, however large the image is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from obol.client.blobs import BlobPull, pause
from obol.client.ports import BytesFrom, Kind, Limits, Progress, PulledImage, Refused, Silence, Sink, failed
from obol.client.session import Lost, PulledManifest, RegistryClient
from obol.machine.tasks import members
from obol.oci.manifests import Platform, choose
from obol.oci.mediatypes import is_distributable, is_index

if TYPE_CHECKING:
    from obol.client.platforms import Selection
    from obol.oci.manifests import Descriptor, Manifest
    from obol.oci.references import Digest, ImageReference, Reference


class _Config(msgspec.Struct, frozen=True):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


@dataclass
class KeepingSink:
    """A `Sink` that keeps the bytes of one small blob, and hands them on to another sink if there is one."""

    beyond: Sink | None
    data: bytearray = field(default_factory=bytearray)

    async def write(self, blob: Descriptor, offset: int, data: bytes) -> None:
        """Keep, and hand on."""
        self.data += data
        if self.beyond is not None:
            await self.beyond.write(blob, offset, data)


def platform_of(config: bytes) -> Platform | None:
    """What a configuration says; None where it is that of something else than an image."""
    try:
        read = msgspec.json.decode(config, type=_Config)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not read.os or not read.architecture:
        return None
    return Platform(read.os, read.architecture, read.variant or "")


DEFAULT_LIMITS = Limits()
MANIFEST_ATTEMPTS = 2
"""A cache that has no manifest has asked its upstream more than once already."""
DEEPEST = 4
"""Indexes within each other that are followed."""
MOST_IMAGES = 500
"""Images of one index; no real one comes near."""
LARGEST_CONFIG = 4 * 1024 * 1024

Work = Callable[[], Awaitable[object]]


async def pull(
    client: RegistryClient,
    reference: ImageReference,
    platforms: Selection,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    sink: Sink | None = None,
) -> PulledImage:
    """Pull an image from `client`, which speaks to the registry of the reference or to a cache of it.

    Without a sink this is warming: what the cache holds already is not read. Raises PullFailed, having told `progress`.
    """
    image = ImagePull(client, reference, limits, progress or Silence(), sink)
    await image.resolve(platforms)
    return await image.bring()


@dataclass
class ImagePull:
    """The pull of one image: first `resolve`, then `bring`. Both raise PullFailed, having told `progress`."""

    client: RegistryClient
    reference: ImageReference
    limits: Limits
    progress: Progress
    sink: Sink | None = None
    manifests: dict[Digest, PulledManifest] = field(default_factory=dict)
    counted: dict[BytesFrom, int] = field(default_factory=lambda: dict.fromkeys(BytesFrom, 0))
    _seconds: float = 0.0
    _top: PulledManifest | None = None
    _chosen: list[tuple[Platform | None, Manifest]] = field(default_factory=list)

    async def resolve(self, platforms: Selection) -> None:
        """Read the manifests, and tell how much is to come."""
        with self._telling():
            wanted = self.reference.digest or self.reference.tag
            assert wanted is not None
            self._top = await self._manifest(wanted)
            self._chosen = await self._choose(self._top, platforms)
        self.progress.found(self.reference, self._size)
        for document in self.manifests.values():
            self._count(document.size, document.source)

    async def bring(self) -> PulledImage:
        """Bring what the manifests name."""
        top = self._top
        assert top is not None, "not resolved"
        runs_on = [platform for platform, _ in self._chosen]
        blobs = self._blobs
        with self._telling():
            if not top.manifest.is_index:
                runs_on = [await self._config_says(top.manifest, blobs)]
            await self._several([self._bringing(blob) for blob in _largest_first(blobs.values())])
        configs = {manifest.blobs[0].digest for _, manifest in self._chosen if manifest.blobs}
        image = PulledImage(
            reference=self.reference,
            digest=top.digest,
            platforms=tuple(dict.fromkeys(str(platform) for platform in runs_on if platform is not None)),
            layers=len(self._blobs.keys() - configs),
            bytes_total=self._size,
            bytes_from_cache=self.counted[BytesFrom.CACHE],
            bytes_from_upstream=self.counted[BytesFrom.UPSTREAM],
            seconds=self._seconds,
        )
        self.progress.done(image)
        return image

    @property
    def _blobs(self) -> dict[Digest, Descriptor]:
        named = (blob for _, manifest in self._chosen for blob in manifest.blobs)
        return {blob.digest: blob for blob in named if is_distributable(blob.media_type)}

    @property
    def _size(self) -> int:
        sizes = [document.size for document in self.manifests.values()]
        return sum(sizes) + sum(blob.size for blob in self._blobs.values())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Count the time, and tell of a failure."""
        began = self.client.clock.monotonic()
        try:
            yield
        except Refused as problem:
            failure = failed(self.reference, problem)
            self.progress.failed(failure)
            raise failure from problem
        finally:
            self._seconds += self.client.clock.monotonic() - began

    async def _choose(self, top: PulledManifest, platforms: Selection) -> list[tuple[Platform | None, Manifest]]:
        """The manifests of the platforms that are wanted; what a lone manifest runs on is not known from it."""
        if not top.manifest.is_index:
            return [(None, top.manifest)]
        leaves = await self._leaves(top.manifest, DEEPEST)
        if platforms is not None:
            leaves = [self._one(leaves, wanted) for wanted in platforms]
        leaves = list({leaf.digest: leaf for leaf in leaves}.values())
        await self._several([self._reading(leaf.digest) for leaf in leaves])
        found = [(leaf.platform, self.manifests[leaf.digest].manifest) for leaf in leaves]
        if any(manifest.is_index for _, manifest in found):
            raise Refused(Kind.UNTRUSTED, "its index calls another index an image")
        return found

    async def _leaves(self, index: Manifest, deep: int) -> list[Descriptor]:
        """The images of an index, with those of the indexes in it."""
        if deep == 0:
            raise Refused(Kind.UNTRUSTED, "its index has too many others within each other")
        found: list[Descriptor] = []
        for child in index.manifests:
            if child.is_attestation:
                continue
            if is_index(child.media_type):
                found += await self._leaves((await self._manifest(child.digest)).manifest, deep - 1)
            else:
                found.append(child)
            if len(found) > MOST_IMAGES:
                raise Refused(Kind.UNTRUSTED, f"its index has more than {MOST_IMAGES} images")
        return found

    def _one(self, leaves: Sequence[Descriptor], wanted: Platform) -> Descriptor:
        if (leaf := choose(leaves, wanted)) is not None:
            return leaf
        there = dict.fromkeys(str(leaf.platform) for leaf in leaves if leaf.platform is not None)
        why = f"it is not for {wanted}, only for {', '.join(there) or 'platforms that it does not name'}"
        raise Refused(Kind.NO_PLATFORM, why)

    async def _config_says(self, manifest: Manifest, blobs: dict[Digest, Descriptor]) -> Platform | None:
        """Bring the configuration of an image without an index, which alone tells what it runs on."""
        config = manifest.blobs[0] if manifest.blobs else None
        if config is None or config.size > LARGEST_CONFIG:
            return None
        del blobs[config.digest]
        kept = KeepingSink(self.sink)
        await self._blob(config, kept)
        return platform_of(bytes(kept.data))

    async def _manifest(self, reference: Reference) -> PulledManifest:
        for left in reversed(range(MANIFEST_ATTEMPTS)):
            try:
                document = await self.client.manifest(self.reference.repository, reference)
            except Lost:
                if not left:
                    raise
                await self.client.clock.sleep(pause(0))
            else:
                return self.manifests.setdefault(document.digest, document)
        raise AssertionError("at least one attempt is made")

    def _reading(self, digest: Digest) -> Work:
        return lambda: self._manifest(digest)

    def _bringing(self, blob: Descriptor) -> Work:
        return lambda: self._blob(blob, self.sink)

    async def _blob(self, blob: Descriptor, sink: Sink | None) -> None:
        await BlobPull(self.client, self.reference.repository, blob, self._count, sink).run()

    def _count(self, count: int, source: BytesFrom) -> None:
        self.counted[source] += count
        self.progress.moved(self.reference, count, source)

    async def _several(self, works: Iterable[Work]) -> None:
        """Do pieces of work, some at a time; the first failure ends the others. Raises Refused."""
        waiting = deque(works)

        async def one_after_another() -> None:
            while waiting:
                await waiting.popleft()()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.limits.layers, len(waiting))):
                    group.create_task(one_after_another())
        except ExceptionGroup as problems:
            raise members(problems)[0] from None


def _largest_first(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    return sorted(blobs, key=lambda blob: blob.size, reverse=True)
