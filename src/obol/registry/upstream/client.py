"""The adapter for a registry that speaks the OCI distribution protocol over HTTP.

Everything that is asked goes through `Asking`, and what a status means is looked up in `policy.statuses`. HEAD is only
a hint: what it does not tell well is asked by GET, and where it is known not to work it is not sent for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from obol.machine.tasks import in_steps
from obol.oci.errors import OciError
from obol.oci.fields import next_page
from obol.oci.manifests import MAX_MANIFEST, is_opaque, opaque, reading
from obol.oci.mediatypes import MANIFEST_TYPES, SCHEMA1, bare, listed
from obol.oci.references import Digest, Reference, Repository
from obol.registry.policy.statuses import Meaning, Question, explained, meaning
from obol.registry.upstream.asking import About, Asking, Headless
from obol.registry.upstream.auth import Authenticator
from obol.registry.upstream.blobs import RegistryBlob
from obol.registry.upstream.ports import (
    Absent,
    Listing,
    ManifestBody,
    ManifestHead,
    MethodRefused,
    Misbehaved,
    RangesRefused,
    Unavailable,
)
from obol.registry.upstream.reading import decoded, drain, is_page, judge, rate_limit, read_bounded
from obol.registry.upstream.transport import Arrived, Transport

if TYPE_CHECKING:
    import aiohttp

    from obol.machine.clock import Clock
    from obol.registry.control.api import RateLimit
    from obol.registry.policy.health import Ask, Health, Hold
    from obol.registry.settings import TimeLimits, UpstreamSettings
    from obol.registry.upstream.slots import UpstreamSlots

MAX_LISTING = 8 * 1024 * 1024
NO_WORD = ManifestHead(None, "", None)


class RegistryUpstream:
    """One registry behind us; see `ports.Upstream`."""

    def __init__(
        self,
        settings: UpstreamSettings,
        limits: TimeLimits,
        allowed_hosts: frozenset[str],
        slots: UpstreamSlots,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.slots = slots
        self.budget: RateLimit | None = None
        self.requests = 0
        self._clock = clock
        self._asking = Asking(limits, clock)
        self._headless = Headless(clock)
        self._lists_referrers = False
        self._transport = Transport(settings, limits, allowed_hosts)
        self._auth = Authenticator(self._transport, settings.url, clock, limits.late_answer)

    @property
    def health(self) -> Health:
        """What recent answers say."""
        return self._asking.health

    @health.setter
    def health(self, health: Health) -> None:
        self._asking.health = health

    @property
    def last_problem(self) -> str:
        """What was wrong when it last failed."""
        return self._asking.last_problem

    def gate(self) -> Ask | Hold:
        """May it be asked now?"""
        return self._asking.gate()

    async def head_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestHead:
        """Ask what a reference means; nothing that a HEAD refuses is believed."""
        headers = await self._head(f"{repository}/manifests/{reference}", repository, {"Accept": accept})
        if headers is None:
            return NO_WORD
        media_type = bare(headers.get("Content-Type", ""))
        known = media_type if media_type in MANIFEST_TYPES else ""
        return ManifestHead(_digest(headers), known, _length(headers) or None)

    async def _head(self, path: str, repository: Repository, headers: Mapping[str, str]) -> Mapping[str, str] | None:
        """The header fields of a good answer; None where only a GET will tell."""
        if self._headless.known(repository):
            return None
        status: int | None = None

        async def question() -> Mapping[str, str] | None:
            nonlocal status
            response = (await self._send("HEAD", path, repository, headers)).response
            status = response.status
            if meaning(Question.HEAD, status) is Meaning.METHOD_REFUSED:
                await drain(response)
                return None
            await judge(response, Question.HEAD, self._clock.wall())
            response.release()
            return None if is_page(response) else response.headers

        told = await self._asking.hint(About(repository, path), question)
        if told is None:
            self._headless.suspect(path, repository, status)
        return told

    async def get_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestBody:
        """Fetch a manifest and verify it."""
        path = f"{repository}/manifests/{reference}"
        suspicion = self._headless.take(path)

        async def question() -> ManifestBody:
            response = (await self._send("GET", path, repository, {"Accept": accept})).response
            await judge(response, Question.MANIFEST, self._clock.wall())
            raw = await read_bounded(response, MAX_MANIFEST)
            return await _manifest(raw, response, reference, accept)

        got = await self._asking.ask(About(repository, path), question)
        self._headless.proved(suspicion)
        return got

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Size of a blob that the upstream would give in this repository, by HEAD or else by a GET of one byte."""
        path = f"{repository}/blobs/{digest}"
        headers = await self._head(path, repository, {})
        if headers is not None:
            size = _length(headers)
            if size or "Content-Length" not in headers or digest == Digest.of(b"", digest.algorithm):
                return size
        suspicion = self._headless.take(path)
        size = await self._asking.ask(About(repository, path), lambda: self._size_by_range(repository, digest))
        self._headless.proved(suspicion)
        return size

    async def _size_by_range(self, repository: Repository, digest: Digest) -> int | None:
        blob = self.blob(repository, digest, None)
        try:
            stream = await blob.open_once(0, 1)
        except RangesRefused:
            stream = await blob.open_once(0, None, plain=True)
        stream.close()
        return stream.total

    def blob(self, repository: Repository, digest: Digest, size: int | None) -> RegistryBlob:
        """A blob to open streams of."""
        about = About(repository, f"{repository}/blobs/{digest}")

        async def ask_registry(headers: Mapping[str, str]) -> Arrived:
            return await self._send("GET", about.path, repository, headers)

        return RegistryBlob(ask_registry, self._transport, self._asking, about, size)

    async def listing(self, repository: Repository, target: str, accept: str) -> Listing:
        """One page of a list; where it is refused because of the number that was asked for, one of any length."""
        if target.startswith(f"{repository}/referrers/"):
            return await self._referrers(repository, target, accept)
        try:
            return await self._listing(repository, target, accept, Question.LIST)
        except MethodRefused:
            if (without := without_number(target)) == target:
                raise
            return await self._listing(repository, without, accept, Question.LIST)

    async def _referrers(self, repository: Repository, target: str, accept: str) -> Listing:
        """A registry without such a list says so in many ways; an error of the server's own (500) is one of them."""
        try:
            found = await self._listing(repository, target, accept, Question.REFERRERS)
        except Misbehaved as problem:
            raise Absent("the upstream has no list of referrers") from problem
        except Unavailable as problem:
            if self._lists_referrers or str(problem) != explained(500):
                raise
            raise Absent("the upstream has no list of referrers") from problem
        self._lists_referrers = True
        return found

    async def _listing(self, repository: Repository, target: str, accept: str, asked: Question) -> Listing:
        async def question() -> Listing:
            response = (await self._send("GET", target, repository, {"Accept": accept})).response
            await judge(response, asked, self._clock.wall())
            body = await read_bounded(response, MAX_LISTING)
            if is_page(response):
                raise Misbehaved("the upstream answered a list with a web page")
            media_type = bare(response.headers.get("Content-Type", ""))
            try:
                more = next_page(response.headers.getall("Link", ()))
            except ValueError:
                raise Misbehaved("the upstream's link to the next page of its list cannot be read") from None
            return Listing(body, media_type, more, "OCI-Filters-Applied" in response.headers)

        return await self._asking.ask(About(repository, target.partition("?")[0]), question)

    async def close(self) -> None:
        """Close every connection."""
        await self._auth.close()
        await self._transport.close()

    async def _send(self, method: str, path: str, repository: Repository, headers: Mapping[str, str]) -> Arrived:
        self.requests += 1
        arrived = await self._auth.send(method, f"{self.settings.url}/v2/{path}", headers, repository)
        self.budget = rate_limit(arrived.response.headers) or self.budget
        return arrived


async def _manifest(raw: bytes, response: aiohttp.ClientResponse, reference: Reference, accept: str) -> ManifestBody:
    """What came in answer to `accept`, verified and read. Raises Misbehaved."""
    by_digest = isinstance(reference, Digest)
    expected = reference if isinstance(reference, Digest) else _digest(response.headers)
    body, digest = _verified(raw, expected, response.headers.get("Content-Encoding", ""))
    kind = response.headers.get("Content-Type", "")
    if is_opaque(kind) and (
        by_digest or bare(kind) not in SCHEMA1 or not listed(accept).isdisjoint({bare(kind), "*/*"})
    ):
        return ManifestBody(digest, opaque(kind), body)
    try:
        manifest = await in_steps(reading(body, kind))
    except OciError as problem:
        raise Misbehaved(f"the upstream's manifest cannot be used: {problem.detail}") from problem
    return ManifestBody(digest, manifest, body)


def _digest(headers: Mapping[str, str]) -> Digest | None:
    try:
        return Digest.parse(headers.get("Docker-Content-Digest", ""))
    except OciError:
        return None


def _length(headers: Mapping[str, str]) -> int | None:
    """What a HEAD says of the length, if it speaks of the content itself and not of an encoding (8.6)."""
    text = headers.get("Content-Length", "")
    encoded = headers.get("Content-Encoding", "").strip().lower() not in {"", "identity"}
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 and not encoded else None


def without_number(target: str) -> str:
    """The target of a list without the wish for pages of some length, every other parameter as it is."""
    path, _, query = target.partition("?")
    kept = [pair for pair in query.split("&") if pair.partition("=")[0] != "n"]
    return f"{path}?{'&'.join(kept)}" if kept != [""] and kept else path


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
