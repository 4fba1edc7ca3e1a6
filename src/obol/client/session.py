"""HTTP to one registry, or to our cache in front of it.

What aiohttp raises and what a status means is translated here, once, into `Refused`; `Lost` is the part of it that may
pass. Our cache says more than a status can, in headers: see `registry.control.api`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from obol.client.ports import BytesFrom, Kind, Limits, Refused
from obol.machine.clock import Clock, SystemClock
from obol.oci.errors import OciError, printable
from obol.oci.manifests import MAX_MANIFEST, Manifest, parse_manifest
from obol.oci.mediatypes import upstream_accept
from obol.oci.ranges import parse_content_range
from obol.oci.references import Digest, Reference, Repository
from obol.registry.control.api import CACHE_HEADER, HELD_HEADER, PROBLEM_HEADER, Problem, Source

DEFAULT_LIMITS = Limits()
ACCEPT = upstream_accept(())
READ_BUFFER = 1024 * 1024
MAX_REFUSAL = 16 * 1024
"""Bytes of an error document that are read."""

_SECONDS = re.compile(r"[0-9]{1,9}")
_HELD = frozenset({Source.HIT, Source.REVALIDATED, Source.STALE})
_PROBLEMS: dict[str, Kind] = {
    Problem.ABSENT: Kind.ABSENT,
    Problem.DENIED: Kind.DENIED,
    Problem.RATE_LIMITED: Kind.RATE_LIMITED,
    Problem.FAILING: Kind.UPSTREAM_DOWN,
    Problem.OFFLINE: Kind.OFFLINE,
    Problem.DISK: Kind.NO_SPACE,
}


class Lost(Refused):
    """A connection that was cut or late, or a server in trouble: asking again may help."""

    def __init__(self, why: str, *, answered: bool = False) -> None:
        super().__init__(Kind.UPSTREAM_DOWN, why)
        self.answered = answered
        """The server said so by a status, rather than by silence."""


@dataclass(frozen=True, slots=True)
class PulledManifest:
    """A manifest whose bytes have the digest that they should have."""

    digest: Digest
    manifest: Manifest
    size: int
    source: BytesFrom


class BlobAnswer:
    """The body of one answer to a question for a blob; close it in any case."""

    def __init__(self, response: aiohttp.ClientResponse, start: int, total: int | None) -> None:
        self.start = start
        """Offset of the first byte: as asked for, or 0 where the server sends the whole all the same."""
        self.total = total
        """Size of the whole blob, where it was told."""
        self.stored = response.headers.get(CACHE_HEADER) == Source.HIT
        """A cache holds all of it."""
        held = response.headers.get(HELD_HEADER, "")
        self.held = int(held) if _SECONDS.fullmatch(held) else 0
        """Bytes that a cache had when we asked."""
        self._response = response

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes as they come. Raises Lost."""
        try:
            while data := await self._response.content.readany():
                yield data
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise _translated(problem) from problem

    def close(self) -> None:
        """Keep the connection if all was read, drop it otherwise; safe to repeat."""
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


class RegistryClient:
    """A client of the registry at `base` (scheme://host[:port]); `ns`: the registry that a cache is to stand for.

    Use it as an async context manager.
    """

    def __init__(
        self, base: str, ns: str | None = None, limits: Limits = DEFAULT_LIMITS, clock: Clock | None = None
    ) -> None:
        self.base = base.rstrip("/")
        self.ns = ns
        self.limits = limits
        self.clock = clock or SystemClock()
        self._query = "" if ns is None else f"?ns={quote(ns, safe='')}"
        self._open: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._open = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect, sock_read=self.limits.idle),
            read_bufsize=READ_BUFFER,
            requote_redirect_url=False,
            headers={"User-Agent": "obol", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._open is not None:
            await self._open.close()

    async def manifest(self, repository: Repository, reference: Reference) -> PulledManifest:
        """A manifest, verified: against the digest that was asked for, if one was. Raises Refused, Lost."""
        try:
            async with asyncio.timeout(self.limits.manifest):
                response = await self._get(f"/v2/{repository}/manifests/{reference}", {"Accept": ACCEPT})
                async with response:
                    body = await _bounded(response, MAX_MANIFEST)
        except TimeoutError:
            raise Lost("it does not answer in time") from None
        algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
        digest = Digest.of(body, algorithm)
        if isinstance(reference, Digest) and digest != reference:
            raise Refused(Kind.UNTRUSTED, "the manifest that it sent has another digest")
        try:
            manifest = parse_manifest(body, response.headers.get("Content-Type", ""))
        except OciError as problem:
            raise Refused(Kind.UNTRUSTED, f"what it sent is not a manifest ({problem.detail})") from problem
        source = BytesFrom.CACHE if response.headers.get(CACHE_HEADER) in _HELD else BytesFrom.UPSTREAM
        return PulledManifest(digest, manifest, len(body), source)

    async def blob(self, repository: Repository, digest: Digest, start: int = 0) -> BlobAnswer:
        """A blob from byte `start` on, if the server honours ranges. Raises Refused, Lost."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            async with asyncio.timeout(self.limits.headers):
                response = await self._get(f"/v2/{repository}/blobs/{digest}", headers)
        except TimeoutError:
            raise Lost("it does not answer in time") from None
        if response.status != 206:
            return BlobAnswer(response, 0, response.content_length)
        told = parse_content_range(response.headers.get("Content-Range"))
        if told is None or told.start != start:
            response.close()
            raise Lost("it answers another range than it was asked for", answered=True)
        return BlobAnswer(response, start, told.total)

    async def _get(self, path: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        assert self._open is not None, "not entered"
        target = URL(f"{self.base}{path}{self._query}", encoded=True)
        try:
            # Our cache never redirects; registries send blobs from elsewhere.
            response = await self._open.get(target, headers=headers, allow_redirects=self.ns is None)
            if response.status in {200, 206}:
                return response
            async with response:
                raise await _refusal(response)
        except aiohttp.ClientConnectorError as problem:
            raise Refused(Kind.UNREACHABLE, f"nothing answers at {self.base}") from problem
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise _translated(problem) from problem


class _Error(msgspec.Struct):
    detail: msgspec.Raw = msgspec.Raw(b"null")
    message: str = ""


class _Refusal(msgspec.Struct):
    errors: list[_Error] = []


async def _refusal(response: aiohttp.ClientResponse) -> Refused:
    """What an unsuccessful answer means."""
    why = _said(await response.content.read(MAX_REFUSAL)) or f"it answers {response.status}"
    after = response.headers.get("Retry-After", "")
    seconds = float(after) if _SECONDS.fullmatch(after) else None
    kind = _PROBLEMS.get(response.headers.get(PROBLEM_HEADER, ""))
    if kind is not None and response.status != 502:
        return Refused(kind, why, seconds)
    match response.status:
        case 404:
            return Refused(Kind.ABSENT, why)
        case 401 | 403:
            return Refused(Kind.DENIED, why)
        case 429:
            return Refused(Kind.RATE_LIMITED, why, seconds)
        case status if status >= 500:
            return Lost(why, answered=True)
        case status:
            return Refused(Kind.UNTRUSTED, f"it answers {status} ({why})")


def _said(body: bytes) -> str:
    """The text of an error document of the distribution specification; "" where it has none."""
    try:
        errors = msgspec.json.decode(body, type=_Refusal).errors
        detail = msgspec.json.decode(errors[0].detail) if errors else ""
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    if isinstance(detail, str) and detail:
        return printable(detail)
    return printable(errors[0].message) if errors else ""


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := await response.content.readany():
            size += len(piece)
            if size > limit:
                raise Refused(Kind.UNTRUSTED, "the manifest that it sent is too long")
            pieces.append(piece)
    except TimeoutError:
        raise
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        raise _translated(problem) from problem
    return b"".join(pieces)


def _translated(problem: Exception) -> Lost:
    match problem:
        case asyncio.TimeoutError():
            return Lost("it does not answer in time")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError():
            return Lost("it cut the connection")
        case _:
            return Lost(f"its answer makes no sense ({type(problem).__name__})")
