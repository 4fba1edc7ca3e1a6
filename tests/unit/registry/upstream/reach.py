"""How these tests reach a fake registry: the adapter and its parts, with short time limits and a clock of their own."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest

from obol.oci.mediatypes import upstream_accept
from obol.oci.references import Digest, Repository, Tag
from obol.registry.settings import TimeLimits, UpstreamSettings
from obol.registry.upstream.asking import About, Asking
from obol.registry.upstream.auth import Authenticator
from obol.registry.upstream.blobs import RegistryBlob, RegistryStream
from obol.registry.upstream.client import RegistryUpstream
from obol.registry.upstream.ports import Unavailable
from obol.registry.upstream.slots import Share, SlotPool
from obol.registry.upstream.transport import Arrived, Transport
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.fakes.content import make_image
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.hostile import HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.link import LinkConnection, SlowLink
from tests.fakes.quay import FakeQuay
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry import Repository as Shelf
from tests.limits import scaled, short_limits

LIMITS = short_limits(
    connect=0.5,
    manifest=1.0,
    late_answer=1.0,
    stale_after=0.2,
    blob_headers=1.0,
    idle=0.3,
    trickle_window=5.0,
    trickle_bytes=1000,
)
QUICK = replace(LIMITS, manifest=scaled(0.1), late_answer=scaled(0.1))
APP = Repository("library/app")
OTHER = Repository("library/other")
THIRD = Repository("library/third")
IMAGE = make_image(1000)
TOP = Digest(IMAGE.top)
TAG, NONE = Tag("1"), Tag("none")
ACCEPT = upstream_accept(())
SECRET = "canary-of-the-test"
NOWHERE = "http://localhost:1"
"""An upstream that nobody listens for, whose own name is not 127.0.0.1."""

DIGEST, DATA = make_blob(100_000)
SIZE = len(DATA)


class CountingLink(SlowLink):
    """A link that counts the connections made over it."""

    made = 0

    def connection(self) -> LinkConnection:
        self.made += 1
        return super().connection()


def settings(url: str) -> UpstreamSettings:
    """An upstream at `url`."""
    return UpstreamSettings("registry.test", url)


Fake = TypeVar("Fake", FakeRegistry, FakeHub, FakeGhcr, FakeQuay, HostileRegistry)


def filled(fake: Fake, *repositories: Repository) -> Fake:
    """The fake with the same image in these repositories; in three, if none is named."""
    for repository in repositories or (APP, OTHER, THIRD):
        fake.add(repository, TAG, IMAGE)
    return fake


async def failures(upstream: RegistryUpstream, number: int) -> None:
    """Ask about so many repositories, in vain."""
    for one in range(number):
        with pytest.raises(Unavailable):
            await upstream.get_manifest(Repository(f"library/bad{one}"), TAG, ACCEPT)


@asynccontextmanager
async def transport_to(
    upstream: str | UpstreamSettings, limits: TimeLimits = LIMITS, allowed: frozenset[str] = frozenset()
) -> AsyncIterator[Transport]:
    """A transport, closed at the end."""
    transport = Transport(settings(upstream) if isinstance(upstream, str) else upstream, limits, allowed)
    try:
        yield transport
    finally:
        await transport.close()


@dataclass(frozen=True, slots=True)
class Login:
    """An authenticator, and what it stands on."""

    auth: Authenticator
    transport: Transport
    clock: FakeClock
    url: str

    async def get(self, repository: Repository = APP, path: str = "manifests/1") -> int:
        """Ask for something in a repository; the status of the answer, whose body is read."""
        arrived = await self.auth.send("GET", f"{self.url}/v2/{repository}/{path}", {}, repository)
        await arrived.response.read()
        return arrived.response.status


@asynccontextmanager
async def login_at(url: str, within: float = 1.0, allowed: frozenset[str] = frozenset()) -> AsyncIterator[Login]:
    """An authenticator for the registry at `url`."""
    clock = FakeClock()
    async with transport_to(url, allowed=allowed) as transport:
        yield Login(Authenticator(transport, url, clock, within), transport, clock, url)


@asynccontextmanager
async def upstream_at(
    url: str, limits: TimeLimits = LIMITS, clock: FakeClock | None = None
) -> AsyncIterator[RegistryUpstream]:
    """The whole adapter."""
    slots = SlotPool(several=Share(16, 32), firsts=Share(16, 32), lent=Share(9, 9)).of("registry.test")
    upstream = RegistryUpstream(settings(url), limits, frozenset(), slots, clock or FakeClock())
    try:
        yield upstream
    finally:
        await upstream.close()


def shelved(fake: FakeRegistry) -> None:
    """Put the blob `DIGEST` into the repository `APP`."""
    fake.repositories[APP] = Shelf(blobs={DIGEST: DATA})


@dataclass(frozen=True, slots=True)
class Reached:
    """One blob at its upstream, and the clock that its streams are timed by."""

    blob: RegistryBlob
    clock: FakeClock

    async def fetch(self, start: int, stop: int | None, *, plain: bool = False) -> bytes:
        """Open a stream and read it to its end."""
        return await everything(await self.blob.open_once(start, stop, plain=plain))


@asynccontextmanager
async def reached(url: str, size: int | None = SIZE, limits: TimeLimits = LIMITS) -> AsyncIterator[Reached]:
    """The blob `DIGEST` at the registry at `url`; `size` as a descriptor says."""
    clock = FakeClock()
    async with transport_to(url, limits) as transport:
        auth = Authenticator(transport, url, clock, 1.0)

        async def ask(headers: Mapping[str, str]) -> Arrived:
            return await auth.send("GET", f"{url}/v2/{APP}/blobs/{DIGEST}", headers, APP)

        about = About(APP, f"{APP}/blobs/{DIGEST}")
        yield Reached(RegistryBlob(ask, transport, Asking(limits, clock), about, size), clock)


async def collect(stream: RegistryStream, into: bytearray, after: Callable[[], None] = lambda: None) -> None:
    """Read a stream to its end, whatever end it is, do something `after` each piece, and close it (twice)."""
    try:
        while piece := await stream.read():
            into += piece
            after()
    finally:
        stream.close()
        stream.close()


async def everything(stream: RegistryStream) -> bytes:
    """All bytes of a stream, which is then closed."""
    received = bytearray()
    await collect(stream, received)
    return bytes(received)
