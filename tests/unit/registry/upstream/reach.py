"""How these tests reach a fake registry: the adapter and its parts, with short time limits and a clock of their own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.oci.references import Repository
from obol.registry.settings import TimeLimits, UpstreamSettings
from obol.registry.upstream.asking import About, Asking
from obol.registry.upstream.auth import Authenticator
from obol.registry.upstream.blobs import RegistryBlob
from obol.registry.upstream.client import RegistryUpstream
from obol.registry.upstream.slots import Share, SlotPool
from obol.registry.upstream.transport import Transport
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.fakes.link import LinkConnection, SlowLink
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry import Repository as Shelf
from tests.limits import short_limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from obol.registry.upstream.blobs import RegistryStream
    from obol.registry.upstream.transport import Arrived

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
APP = Repository("library/app")
OTHER = Repository("library/other")
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
