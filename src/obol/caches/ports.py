"""A cache engine as the rest of the product sees it, whichever of the two it is.

The statuses are what the builtin engine answers on its control socket; another engine fills in what it can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Health = Literal["unknown", "ok", "failing", "rate-limited"]

StoreState = Literal["ok", "full", "read-only", "failing"]

EngineName = Literal["auto", "builtin", "containers"]
"""Which caches are wanted; auto: the builtin engine, or containers where nodes cannot reach it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address on which requests without `?ns=` are for `registry`."""

    registry: str
    """Whose images it serves."""
    address: str
    """An IP address of this machine."""
    port: int
    """The TCP port."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much there is of something."""

    count: int
    """How many."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """What became of the requests since the engine started."""

    hit: int = 0
    """Answered by what is stored."""
    miss: int = 0
    """Answered by the upstream."""
    stale: int = 0
    """Answered by what is stored and old, because the upstream did not answer."""
    error: int = 0
    """Refused."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What an upstream allows, and what is left of it."""

    limit: int | None
    """Pulls that are allowed; null where it does not say."""
    remaining: int | None
    """Pulls that are left; null where it does not say."""


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """The state of one upstream."""

    registry: str
    """Its name, as in image references."""
    url: str
    """Where it is asked."""
    health: Health
    """How it answers; unknown: it was not asked yet."""
    detail: str = ""
    """Why, where the health is not ok."""
    retry_after: float | None = None
    """Seconds until it is asked again."""
    requests: RequestCounts = RequestCounts()
    """What became of requests for its images."""
    bytes_from_cache: int = 0
    """What clients got from the store, since the engine started."""
    bytes_from_upstream: int = 0
    """What was fetched, since the engine started."""
    upstream_requests: int = 0
    """How often it was asked, since the engine started."""
    throughput: float | None = None
    """Bytes per second, as measured; null where nothing was."""
    ratelimit: RateLimit | None = None
    """What it allows; null where it does not say."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What a running engine says of itself."""

    version: str
    """Of the obol that it runs."""
    pid: int
    """The number of its process."""
    store: str
    """The directory of its content."""
    started_at: float
    """Seconds since 1970."""
    offline: bool
    """It asks no upstream."""
    listeners: tuple[Listener, ...]
    """The addresses on which it serves."""
    content: Amount
    """The blobs that it holds."""
    partials: Amount
    """Blobs that are stored in part."""
    upstreams: tuple[UpstreamStatus, ...]
    """The registries behind it."""
    fills: int = 0
    """Blobs that are being fetched now."""
    store_state: StoreState = "ok"
    """ok; with full, read-only or failing the engine passes on what comes, and does not keep it."""
    store_detail: str = ""
    """The last trouble; "" where there was none."""


@dataclass(frozen=True, slots=True)
class Given:
    """What one client was given of one registry since an account was opened; sizes in bytes, each byte once."""

    address: str
    """The address at which it asked, as the next."""
    port: int
    peer: str
    """The address from which it asked."""
    registry: str
    held: int
    """Of what was held as a whole when the account was opened."""
    fetched: int
    """Of what came from the upstream since, whoever asked for it first."""


@dataclass(frozen=True, slots=True)
class Account:
    """What an engine counts from a moment on."""

    name: str
    whole: bool
    """Whether it knows of everything that happened since."""
    listeners: tuple[Listener, ...]
    """Ports that nobody else knows, which are open for as long as the account is."""
    given: tuple[Given, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldPlatform:
    """What a cache has of one platform of an image."""

    platform: str
    """As in linux/arm64; "" for an image without an index, which does not say."""
    digest: str
    """Of its manifest."""
    state: Literal["complete", "partial", "absent"]
    """complete; partial: blobs are missing; absent: not even its manifest was fetched."""
    size: int
    """Bytes of its blobs, held or not; 0 where it is absent."""
    missing_blobs: int
    """Blobs that are not held."""
    missing_bytes: int
    """Their size."""


@dataclass(frozen=True, slots=True)
class HeldImage:
    """What a cache has of one image."""

    registry: str
    """Where it is from."""
    repository: str
    """Its repository there."""
    tags: tuple[str, ...]
    """Empty for an image that was pulled by its digest only."""
    digest: str
    """Of its index or manifest."""
    complete: bool
    """At least one platform is there, and of those that are there nothing is missing."""
    size: int
    """Bytes that are held, shared with other images or not."""
    missing_blobs: int
    """Blobs that are missing, of the platforms that are there at least in part."""
    missing_bytes: int
    """Their size."""
    used_at: float | None
    """When it was last served, in seconds since 1970."""
    platforms: tuple[HeldPlatform, ...]
    """Its platforms, held or not."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The images of a cache."""

    images: tuple[HeldImage, ...]
    """Each image, by registry, repository and tag."""


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """A blob on its way into a cache, in bytes."""

    registry: str
    repository: str
    digest: str
    size: int | None
    """None where the upstream has not told."""
    frontier: int
    arrived: int
    held: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """How much of an image is in a cache, in bytes of its configuration and layers."""

    reference: str
    total: int | None
    """None where its manifest is not there yet."""
    present: int
    kept: int
    """What of it stays if all transfers end now."""
    own_total: int
    own_present: int
    """The same without what an image named before it shares, so that these may be added up."""
    transfers: int
    """How many of its blobs are on their way."""


@dataclass(frozen=True, slots=True)
class ProgressStatus:
    """How far images are on their way into a cache."""

    pid: int
    images: tuple[ImageProgress, ...]
    """In the order of the question."""
    transfers: tuple[TransferStatus, ...]


@dataclass(frozen=True, slots=True)
class Substitute:
    """A port that serves in place of the one that was asked for."""

    registry: str
    """Whose images it serves."""
    wanted: int
    """The port that was asked for."""
    port: int
    """The port that serves."""
    holder: str
    """The process that holds the wanted one; "" where that is not known."""
    free: bool = False
    """The wanted one is free again: the next engine takes it."""


@dataclass(frozen=True, slots=True)
class Started:
    """The engine runs."""

    status: EngineStatus
    already: bool
    """It ran before we were asked."""
    substitutes: tuple[Substitute, ...] = ()
    differs: tuple[str, ...] = ()
    """How an engine that ran before differs from what was asked for: a sentence each."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is there when one asks."""

    status: EngineStatus
    substitutes: tuple[Substitute, ...] = ()


class CacheEngine(Protocol):
    """Caches that outlive the clusters which use them."""

    def start(self) -> Started:
        """Make the engine run, if it does not. Raises EngineUnresponsive, PortTaken, StoreUnusable."""
        ...

    def stop(self) -> bool:
        """Make it end; False where nothing ran. Raises EngineUnresponsive."""
        ...

    def status(self) -> Running | None:
        """Ask the engine; None where it does not run. Raises EngineUnresponsive."""
        ...

    def images(self) -> Inventory:
        """List what is held. Raises EngineNotRunning, EngineUnresponsive."""
        ...

    def listen(self, listener: Listener) -> Listener:
        """Serve one more address; answers with the real port. Raises EngineNotRunning, PortTaken."""
        ...

    def unlisten(self, listener: Listener) -> None:
        """Serve an address no longer. Raises EngineNotRunning."""
        ...
