"""A whole engine in the test's own loop, on an ephemeral port, with a fake upstream behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from obol.machine.clock import Clock, SystemClock
from obol.registry.control.api import Listener
from obol.registry.engine.engine import USES_EVERY
from obol.registry.settings import EngineSettings, TransferSettings, UpstreamSettings
from obol.wiring.engine import RunningEngine, running_engine
from tests.fakes.behaviours import Behaviour
from tests.fakes.clock import FakeClock
from tests.fakes.content import FakeImage
from tests.fakes.hostile import HostileRegistry
from tests.fakes.http import Reply, request
from tests.fakes.registry import FakeRegistry
from tests.limits import eventually, short_limits

QUICK = short_limits(
    connect=0.5,
    manifest=1.0,
    late_answer=2.5,
    stale_after=0.4,
    blob_headers=1.5,
    idle=0.8,
    trickle_window=0.6,
    follower_gap=4.0,
    shutdown=1.0,
    send_stall=2.0,
)
"""The limits of the product, made short enough to be waited for."""

SMALL_SEGMENTS = TransferSettings(segment=256 * 1024, segmented_above=512 * 1024, resumes=2)
"""Segmented fetches with blobs of a megabyte or two."""


class HandClock(FakeClock):
    """Time moves only by the test's hand and by short waits; what sleeps for long in the background sleeps on."""

    async def sleep(self, seconds: float) -> None:
        if seconds >= USES_EVERY:
            await asyncio.get_running_loop().create_future()
        await super().sleep(seconds)


class SkippingClock(SystemClock):
    """The machine's clock, which the test may put forward."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    def skip(self, seconds: float) -> None:
        self._skipped += seconds


@dataclass(frozen=True, slots=True)
class Cache:
    """A running engine and how to talk to it."""

    running: RunningEngine
    port: int
    root: Path

    async def get(self, target: str, *headers: tuple[str, str], method: str = "GET") -> Reply:
        return await request(self.port, method, target, headers)

    async def blob(self, digest: str, *headers: tuple[str, str], repository: str = "library/app") -> Reply:
        return await self.get(f"/v2/{repository}/blobs/{digest}", *headers)

    async def manifest(self, reference: str, *headers: tuple[str, str], repository: str = "library/app") -> Reply:
        return await self.get(f"/v2/{repository}/manifests/{reference}", *headers)

    async def pull(self, image: FakeImage, tag: str = "1", repository: str = "library/app") -> list[Reply]:
        """All that a client asks for, one after another: the tag, the manifests below it, every blob."""
        replies = [await self.manifest(tag, repository=repository)]
        replies += [await self.manifest(digest, repository=repository) for digest in image.manifests]
        replies += [await self.blob(digest, repository=repository) for digest in image.blobs]
        return replies

    async def know(self, image: FakeImage, tag: str = "1", repository: str = "library/app") -> None:
        """Pull the manifests only, so that the blobs' sizes are known."""
        await self.manifest(tag, repository=repository)
        for digest in image.manifests:
            await self.manifest(digest, repository=repository)

    async def settled(self) -> None:
        """Wait until no transfer runs: a client has the last byte a moment before the blob is in its place."""
        await eventually(lambda: not self.running.engine.transfers)

    def port_of(self, registry: str) -> int:
        """The port of one of several registries."""
        return next(one.port for one in self.running.listeners.list() if one.registry == registry)

    def stored(self) -> set[str]:
        """Digests of the files that are complete content, read from the disk."""
        found = (self.root / "blobs").glob("*/*/*")
        return {f"{path.parent.parent.name}:{path.name}" for path in found}


@dataclass(frozen=True, slots=True)
class Start:
    """Starts engines over one store; `options` are fields of EngineSettings, and `clock`."""

    root: Path

    @asynccontextmanager
    async def __call__(
        self, upstreams: str | dict[str, str], clock: Clock | None = None, **options: Any
    ) -> AsyncIterator[Cache]:
        """An engine over upstream URLs by registry; a single URL stands for docker.io."""
        named = {"docker.io": upstreams} if isinstance(upstreams, str) else upstreams
        settings = EngineSettings(
            store=self.root,
            upstreams=tuple(UpstreamSettings(name, url) for name, url in named.items()),
            listeners=tuple(Listener(name, "127.0.0.1", 0) for name in named),
            limits=QUICK,
            fill=SMALL_SEGMENTS,
        )
        async with running_engine(replace(settings, **options), clock) as running:
            yield Cache(running, running.listeners.list()[0].port, self.root)

    @asynccontextmanager
    async def over(self, image: FakeImage | None = None, **options: Any) -> AsyncIterator[tuple[FakeRegistry, Cache]]:
        """An engine over a registry that has an image as library/app:1."""
        async with FakeRegistry() as upstream:
            if image is not None:
                upstream.add("library/app", "1", image)
            async with self(upstream.url, **options) as cache:
                yield upstream, cache

    @asynccontextmanager
    async def against(
        self, behaviours: dict[str, Behaviour], image: FakeImage | None = None, **options: Any
    ) -> AsyncIterator[tuple[HostileRegistry, Cache]]:
        """The same over one that misbehaves so."""
        async with HostileRegistry(behaviours) as upstream:
            if image is not None:
                upstream.add("library/app", "1", image)
            async with self(upstream.url, **options) as cache:
                yield upstream, cache


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Start:
    """To start engines with."""
    return Start(tmp_path / "store")
