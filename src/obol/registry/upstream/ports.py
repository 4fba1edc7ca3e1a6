"""The port of one upstream, and what it may answer.

UpstreamError
├── Absent            the upstream says that there is no such thing
├── Denied            it will not tell us without credentials (401, 403, also of its token endpoint)
├── OnHold            not asked: the breaker is open, or a rate limit runs; `hold` says how long
├── TooManyMisses     not asked: too many names that it does not have were asked for just now
├── RateLimited       it said 429 just now; `seconds` until it may be asked again
├── MethodRefused     it does not support this way of asking: there may be another
│   └── RangesRefused it refuses or ignores Range requests, or lies about them: one plain GET remains
├── Misbehaved        an answer that cannot be believed (wrong type, length, digest, redirect); asking again is no use
└── Unavailable       no answer in time, cut short, or 5xx; may pass
    ├── Busy          503 with Retry-After: this path is to be left alone for `seconds`
    └── NoConnection  nothing listens there, or the name leads nowhere
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from obol.oci.manifests import Manifest
    from obol.oci.references import Digest, Reference, Repository
    from obol.registry.control.api import RateLimit
    from obol.registry.policy.health import Ask, Health, Hold
    from obol.registry.settings import UpstreamSettings
    from obol.registry.upstream.slots import UpstreamSlots


class UpstreamError(Exception):
    """The upstream did not give what was asked; the text is fit for logs and clients (no secret, no full URL)."""


class Absent(UpstreamError):
    """There is no such thing."""


class Denied(UpstreamError):
    """Not without credentials, which we do not have.

    `revoked`: the registry itself said so of a repository, with a token that was got for this question where it takes
    tokens. Without it the refusal may be that of a link, of a gateway, or of one thing in the repository.
    """

    def __init__(self, why: str, *, revoked: bool = False) -> None:
        super().__init__(why)
        self.revoked = revoked


class OnHold(UpstreamError):
    """The upstream is not asked now."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(f"the upstream is {hold.reason.value}; next try in {hold.seconds:.0f} s")
        self.hold = hold


class TooManyMisses(UpstreamError):
    """Not asked: it was asked too often for what it does not have."""

    seconds = 1.0
    """After which a few questions more may be asked."""

    def __init__(self) -> None:
        super().__init__("too many names were asked for that the upstream does not have; it is asked again in a moment")


class RateLimited(UpstreamError):
    """429."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the upstream's rate limit is reached; next try in {seconds:.0f} s")
        self.seconds = seconds


class MethodRefused(UpstreamError):
    """This way of asking is not supported."""


class RangesRefused(MethodRefused):
    """A Range request was answered with something else than the range."""


class Misbehaved(UpstreamError):
    """An answer that cannot be believed."""


class Unavailable(UpstreamError):
    """No connection, no answer in time, cut short, or 5xx."""


class Busy(Unavailable):
    """503 with Retry-After, for one path; or 429 of a host that the registry redirects this path to."""

    def __init__(self, seconds: float, status: int = 503) -> None:
        super().__init__(f"the upstream answered {status}; next try in {seconds:.0f} s")
        self.seconds = seconds


class NoConnection(Unavailable):
    """Nothing listens there, or the name leads nowhere: that will not change in a moment, so it is not tried again.

    `elsewhere`: that is so of a host that the registry names, not of the registry.
    """

    elsewhere = False


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What a HEAD of a manifest told; any part may be missing."""

    digest: Digest | None
    media_type: str
    size: int | None


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """A manifest as the upstream sent it, its digest computed from the bytes."""

    digest: Digest
    manifest: Manifest
    body: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of tags or of referrers: the JSON bytes, and the target of Link rel="next" if there are more."""

    body: bytes
    media_type: str
    next_page: str | None
    filtered: bool = False
    """The upstream applied the filter that was asked for (`OCI-Filters-Applied`)."""


class BlobStream(Protocol):
    """The body of one upstream answer."""

    start: int
    """Offset of the first byte: what was asked for, or 0 where the upstream sent the whole blob."""
    total: int | None
    """Size of the whole blob, if the answer told it."""
    ranged: bool
    """Whether the upstream honoured the range."""

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises Unavailable (cut, idle, trickling), Misbehaved (too many bytes)."""
        ...

    def close(self) -> None:
        """Give the connection back, or drop it if bytes are left; safe to repeat."""
        ...


class BlobSource(Protocol):
    """One blob at its upstream. It remembers where the last redirect led, for the other segments."""

    async def open(self, start: int, stop: int | None, *, plain: bool = False) -> BlobStream:
        """Ask for bytes `start` to `stop` (half-open; None: to the end); `plain` asks for all, without a Range.

        Raises any UpstreamError; RangesRefused where a range was answered with a status or range that does not fit.
        An upstream that answers a range from 0 with a whole 200 is not an error: see `BlobStream.ranged`.
        """
        ...


class Upstream(Protocol):
    """One registry behind us. Every method observes health, tokens and redirects, and raises only UpstreamError."""

    settings: UpstreamSettings
    slots: UpstreamSlots
    health: Health
    budget: RateLimit | None
    """What it last said of its rate limit."""
    requests: int
    """How often it was asked."""

    @property
    def last_problem(self) -> str:
        """What was wrong when it last failed."""
        ...

    def gate(self) -> Ask | Hold:
        """May it be asked now?"""
        ...

    async def head_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestHead:
        """Ask what a reference means, within the time limit for manifests."""
        ...

    async def get_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestBody:
        """Fetch a manifest within the time limit for manifests; the digest is that of the bytes, verified."""
        ...

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Size of a blob that the upstream would give in this repository (None: it did not say)."""
        ...

    def blob(self, repository: Repository, digest: Digest, size: int | None) -> BlobSource:
        """A blob to open streams of; `size` as its descriptor says."""
        ...

    async def listing(self, repository: Repository, target: str, accept: str) -> Listing:
        """One page of a list about `repository`; `target` is a path below /v2/ with its query."""
        ...
