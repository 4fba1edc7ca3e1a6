"""How these tests reach a fake registry: the adapter and its parts, with short time limits and a clock of their own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.oci.references import Repository
from obol.registry.settings import TimeLimits, UpstreamSettings
from obol.registry.upstream.auth import Authenticator
from obol.registry.upstream.client import RegistryUpstream
from obol.registry.upstream.slots import SlotPool
from obol.registry.upstream.transport import Transport
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMITS = TimeLimits(connect=0.5, manifest=1.0, blob_headers=1.0, idle=0.3, trickle_window=5.0, trickle_bytes=1000)
APP = Repository("library/app")
OTHER = Repository("library/other")
NOWHERE = "http://localhost:1"
"""An upstream that nobody listens for, whose own name is not 127.0.0.1."""


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
    url: str, limits: TimeLimits = LIMITS, clock: FakeClock | None = None, allowed: frozenset[str] = frozenset()
) -> AsyncIterator[RegistryUpstream]:
    """The whole adapter."""
    slots = SlotPool(16, 32).of("registry.test")
    upstream = RegistryUpstream(settings(url), limits, allowed, slots, clock or FakeClock())
    try:
        yield upstream
    finally:
        await upstream.close()
