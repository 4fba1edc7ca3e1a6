"""What a pull is given and what it tells: limits, progress, sinks, results, and the error for one that failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from obol.errors import ObolError

if TYPE_CHECKING:
    from obol.oci.manifests import Descriptor
    from obol.oci.references import Digest, ImageReference


class BytesFrom(StrEnum):
    """Where bytes came from: they were in the cache, or had to come from the upstream registry."""

    CACHE = "cache"
    UPSTREAM = "upstream"


class Kind(StrEnum):
    """Why a pull failed, for programs. The list is closed and stable."""

    ABSENT = "absent"
    NO_PLATFORM = "no-platform"
    DENIED = "denied"
    RATE_LIMITED = "rate-limited"
    UPSTREAM_DOWN = "upstream-down"
    OFFLINE = "offline"
    NO_SPACE = "no-space"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    NOT_SERVED = "not-served"


class Refused(Exception):
    """A registry did not give what was asked for; `retry_after` in seconds, where it named a time."""

    def __init__(self, kind: Kind, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.kind = kind
        self.why = why
        self.retry_after = retry_after


class PullFailed(ObolError):
    """An image cannot be pulled. `retry_after`: seconds until it is worth another try, where that was told."""

    def __init__(
        self, reference: ImageReference, kind: Kind, *, why: str, hint: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{reference} cannot be pulled", why=why, hint=hint)
        self.reference = reference
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at a time, and for how long: times in seconds."""

    images: int = 3
    """Images at a time."""
    layers: int = 3
    """Blobs of one image at a time."""
    connect: float = 5.0
    manifest: float = 15.0
    """For a manifest, from the question to its last byte."""
    headers: float = 30.0
    """For the first byte of a blob: a cache has to wait for its upstream."""
    idle: float = 60.0
    """The longest gap inside a body."""
    attempts: int = 4
    """How often in a row a question may bring nothing before it is given up."""


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image that was pulled; sizes in bytes, each blob and manifest counted once."""

    reference: ImageReference
    digest: Digest
    """Of what the reference names: an index, or a manifest of one platform."""
    platforms: tuple[str, ...]
    """Those that were pulled, as in `linux/arm64`."""
    layers: int
    bytes_total: int
    bytes_from_cache: int
    bytes_from_upstream: int
    seconds: float


class Progress(Protocol):
    """Hears how pulls go on, on the event loop that they run on."""

    def found(self, reference: ImageReference, size: int) -> None:
        """The manifests are read: so many bytes are to come in all, manifests included."""
        ...

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
        """So many bytes more are there."""
        ...

    def done(self, image: PulledImage) -> None:
        """An image is complete."""
        ...

    def failed(self, problem: PullFailed) -> None:
        """An image cannot be pulled."""
        ...


class Silence:
    """The `Progress` that does nothing."""

    def found(self, reference: ImageReference, size: int) -> None:
        """Say nothing."""

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
        """Say nothing."""

    def done(self, image: PulledImage) -> None:
        """Say nothing."""

    def failed(self, problem: PullFailed) -> None:
        """Say nothing."""


class Sink(Protocol):
    """Takes the bytes of blobs. They are to be believed only once the whole pull has returned."""

    async def write(self, blob: Descriptor, offset: int, data: bytes) -> None:
        """Take bytes of one blob; they come in order and once each, several blobs at a time."""
        ...


class Nowhere:
    """The `Sink` that forgets: every byte is read and verified, as a new node would, and none is kept."""

    async def write(self, blob: Descriptor, offset: int, data: bytes) -> None:
        """Forget."""


WORDS: dict[Kind, tuple[str, str]] = {
    Kind.ABSENT: ("{registry} has no such image", "check its name and its tag"),
    Kind.NO_PLATFORM: ("{why}", "choose another with --platform, or take all with --all-platforms"),
    Kind.DENIED: (
        "{registry} denies it without a login: it is private, or there is no such image",
        "check its name; obol asks without credentials",
    ),
    Kind.RATE_LIMITED: (
        "the rate limit of {registry} is reached{when}",
        "repeat the command then: what has been fetched is kept",
    ),
    Kind.UPSTREAM_DOWN: (
        "{registry} does not serve it: {why}{when}",
        "check the connection and repeat the command: what has been fetched is kept",
    ),
    Kind.OFFLINE: (
        "it is not in the cache, and the cache is offline",
        "`obol cache stop`, then `obol cache start` without --offline",
    ),
    Kind.NO_SPACE: (
        "the disk of the cache is full or failing",
        "free some space where `obol cache status` says the store is, and repeat the command: what was stored is kept",
    ),
    Kind.UNREACHABLE: ("{why}", "`obol cache status` tells whether the cache runs, `obol cache logs` what it met"),
    Kind.UNTRUSTED: (
        "what {registry} sends is not right: {why}",
        "try again; if it stays so, something on the way changes what is sent",
    ),
}
"""Why, and what to do next; a registry that is not served has words of its own."""


def failed(reference: ImageReference, problem: Refused) -> PullFailed:
    """Tell what became of `reference`, why, and what to do."""
    why, hint = _words(reference.registry, problem)
    return PullFailed(reference, problem.kind, why=why, hint=hint, retry_after=problem.retry_after)


def not_served(reference: ImageReference, served: tuple[str, ...]) -> PullFailed:
    """Tell that the cache has no listener for the registry of `reference`."""
    registry = reference.registry
    return PullFailed(
        reference,
        Kind.NOT_SERVED,
        why=f"the cache does not serve {registry}, only {', '.join(served) or 'nothing'}",
        hint=f"`obol cache stop`, then add {registry} to [cache.upstreams] in obol.toml, or start the cache with "
        f"`obol cache start --upstream {registry}=https://{registry}` and an --upstream for each of the others",
    )


def not_kept(reference: ImageReference) -> PullFailed:
    """Tell that an image came through the cache, which could not keep all of it."""
    return failed(reference, Refused(Kind.NO_SPACE, ""))


def _words(registry: str, problem: Refused) -> tuple[str, str]:
    """Why, and what to do."""
    why, hint = WORDS[problem.kind]
    when = "" if problem.retry_after is None else f"; it may be asked again in {soon(problem.retry_after)}"
    return why.format(registry=registry, why=problem.why, when=when), hint


def soon(seconds: float) -> str:
    """A time to wait for: 34 s, 12 min, 5 h."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
