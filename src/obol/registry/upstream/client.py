"""The adapter for a registry that speaks the OCI distribution protocol over HTTP.

Everything that is asked goes through `_attempts`: the gate of the breaker, the time limit, a few retries with jitter
for what may pass, and the bookkeeping of health afterwards.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from obol.oci.errors import OciError
from obol.oci.links import next_page
from obol.oci.manifests import MAX_MANIFEST, parse_manifest
from obol.oci.mediatypes import MANIFEST_TYPES, bare
from obol.oci.references import Digest, Reference, Repository, Tag
from obol.registry.policy import health as rules
from obol.registry.policy.health import Ask, Health, Hold
from obol.registry.policy.retry import delay
from obol.registry.upstream.auth import Authenticator
from obol.registry.upstream.base import (
    Absent,
    Denied,
    Listing,
    ManifestBody,
    ManifestHead,
    Misbehaved,
    NoConnection,
    OnHold,
    RangesRefused,
    RateLimit,
    RateLimited,
    Slots,
    Unavailable,
)
from obol.registry.upstream.blobs import RegistryBlob
from obol.registry.upstream.reading import decoded, drain, judge, rate_limit, read_bounded
from obol.registry.upstream.streams import RegistryStream, is_page
from obol.registry.upstream.transport import Arrived, Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from obol.machine.clock import Clock
    from obol.registry.settings import TimeLimits, UpstreamSettings

T = TypeVar("T")

ATTEMPTS = 3
MAX_LISTING = 8 * 1024 * 1024
NO_HEAD = frozenset({405, 501})


class RegistryUpstream:
    """One registry behind us; see `base.Upstream`."""

    def __init__(
        self,
        settings: UpstreamSettings,
        limits: TimeLimits,
        allowed_hosts: frozenset[str],
        slots: Slots,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.slots = slots
        self.health = Health()
        self.budget: RateLimit | None = None
        self.requests = 0
        self.last_problem = ""
        self._limits = limits
        self._clock = clock
        self._transport = Transport(settings, limits, allowed_hosts)
        self._auth = Authenticator(self._transport, settings.url, clock, limits.manifest)

    def gate(self) -> Ask | Hold:
        """May it be asked now?"""
        return rules.gate(self.health, self._clock.monotonic())

    async def head_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestHead:
        """Ask what a reference means."""
        path = f"{repository}/manifests/{reference}"

        async def ask() -> ManifestHead:
            arrived = await self._send("HEAD", path, repository, {"Accept": accept})
            response = arrived.response
            if response.status in NO_HEAD:
                await drain(response)
                return ManifestHead(None, "", None)
            await judge(response, self._clock.wall())
            response.release()
            media_type = bare(response.headers.get("Content-Type", ""))
            known = media_type if media_type in MANIFEST_TYPES else ""
            return ManifestHead(_digest(response.headers), known, response.content_length)

        return await self._attempts(ask, self._limits.manifest)

    async def get_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestBody:
        """Fetch a manifest and verify it."""
        path = f"{repository}/manifests/{reference}"

        async def ask() -> ManifestBody:
            arrived = await self._send("GET", path, repository, {"Accept": accept})
            response = arrived.response
            await judge(response, self._clock.wall())
            raw = await read_bounded(response, MAX_MANIFEST)
            expected = _digest(response.headers) if isinstance(reference, Tag) else reference
            body, digest = _verified(raw, expected, response.headers.get("Content-Encoding", ""))
            try:
                manifest = parse_manifest(body, response.headers.get("Content-Type", ""))
            except OciError as problem:
                raise Misbehaved(f"the upstream's manifest cannot be used: {problem.detail}") from problem
            return ManifestBody(digest, manifest, body)

        return await self._attempts(ask, self._limits.manifest)

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Size of a blob that the upstream would give in this repository."""
        path = f"{repository}/blobs/{digest}"

        async def ask() -> int | None:
            arrived = await self._send("HEAD", path, repository, {})
            response = arrived.response
            if response.status in NO_HEAD:
                await drain(response)
                return await self._size_by_range(repository, digest)
            await judge(response, self._clock.wall())
            response.release()
            if is_page(response):
                raise Misbehaved("the upstream answered a blob with a web page")
            return response.content_length

        return await self._attempts(ask, self._limits.manifest)

    async def _size_by_range(self, repository: Repository, digest: Digest) -> int | None:
        stream = await self._blob(repository, digest, None).open(0, 1)
        stream.close()
        return stream.total

    def blob(self, repository: Repository, digest: Digest, size: int | None) -> GuardedBlob:
        """A blob to open streams of."""
        return GuardedBlob(self._blob(repository, digest, size), self._attempts, self._limits.blob_headers)

    def _blob(self, repository: Repository, digest: Digest, size: int | None) -> RegistryBlob:
        async def ask_registry(headers: Mapping[str, str]) -> Arrived:
            return await self._send("GET", f"{repository}/blobs/{digest}", repository, headers)

        return RegistryBlob(ask_registry, self._transport, self._clock, self._limits, size)

    async def listing(self, repository: Repository, target: str, accept: str) -> Listing:
        """One page of a list."""

        async def ask() -> Listing:
            arrived = await self._send("GET", target, repository, {"Accept": accept})
            response = arrived.response
            await judge(response, self._clock.wall())
            body = await read_bounded(response, MAX_LISTING)
            media_type = bare(response.headers.get("Content-Type", ""))
            more = next_page(response.headers.getall("Link", ()))
            return Listing(body, media_type, more, "OCI-Filters-Applied" in response.headers)

        return await self._attempts(ask, self._limits.manifest)

    async def close(self) -> None:
        """Close every connection."""
        await self._auth.close()
        await self._transport.close()

    async def _send(self, method: str, path: str, repository: Repository, headers: Mapping[str, str]) -> Arrived:
        self.requests += 1
        arrived = await self._auth.send(method, f"{self.settings.url}/v2/{path}", headers, repository)
        self.budget = rate_limit(arrived.response.headers) or self.budget
        return arrived

    async def _attempts(self, ask: Callable[[], Awaitable[T]], within: float) -> T:
        """Ask, within `within` seconds in all; try again what may pass; remember how it went."""
        self._enter()
        problem = Unavailable("the upstream did not answer in time")
        try:
            async with asyncio.timeout(within):
                for attempt in range(ATTEMPTS):
                    try:
                        return self._answered(await ask())
                    except Unavailable as trouble:
                        problem = trouble
                    if isinstance(problem, NoConnection):
                        break
                    if attempt + 1 < ATTEMPTS:
                        await self._clock.sleep(delay(attempt, random.random()))  # noqa: S311 - jitter
        except TimeoutError:
            pass
        except RateLimited as limited:
            self.health = rules.after_rate_limit(self.health, self._clock.monotonic(), limited.seconds)
            self.last_problem = str(limited)
            raise
        except (Absent, Denied, Misbehaved, RangesRefused) as told:
            self._answered(told)
            raise
        self.health = rules.after_failure(self.health, self._clock.monotonic())
        self.last_problem = str(problem)
        raise problem

    def _enter(self) -> None:
        now = self._clock.monotonic()
        match rules.gate(self.health, now):
            case Hold() as hold:
                raise OnHold(hold)
            case Ask(probe=True):
                self.health = rules.probing(self.health, now)

    def _answered(self, answer: T) -> T:
        self.health = rules.after_answer(self.health)
        return answer


class GuardedBlob:
    """A blob whose openings observe the upstream's health and time limit."""

    def __init__(
        self,
        blob: RegistryBlob,
        attempts: Callable[[Callable[[], Awaitable[RegistryStream]], float], Awaitable[RegistryStream]],
        within: float,
    ) -> None:
        self._blob = blob
        self._attempts = attempts
        self._within = within

    async def open(self, start: int, stop: int | None, *, plain: bool = False) -> RegistryStream:
        """See `BlobSource.open`."""
        return await self._attempts(lambda: self._blob.open(start, stop, plain=plain), self._within)


def _digest(headers: Mapping[str, str]) -> Digest | None:
    try:
        return Digest.parse(headers.get("Docker-Content-Digest", ""))
    except OciError:
        return None


def _verified(raw: bytes, expected: Digest | None, encoding: str) -> tuple[bytes, Digest]:
    """The manifest's bytes and their digest. Raw bytes are tried first: some servers label what they did not encode."""
    plain = decoded(raw, encoding.strip().lower(), MAX_MANIFEST)
    if expected is None:
        body = raw if plain is None else plain
        return body, Digest.of(body)
    for candidate in (raw, plain):
        if candidate is not None and Digest.of(candidate, expected.algorithm) == expected:
            return candidate, expected
    raise Misbehaved("the upstream's manifest does not have the digest that it should have")
