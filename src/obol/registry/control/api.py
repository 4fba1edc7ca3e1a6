"""What an engine and its clients tell each other: the one schema between processes.

The values are the JSON of the control socket, and most of them are parts of what `obol cache …` writes as JSON, so that
their fields are stable. Beside them are the paths and limits of the socket, and the headers by which an engine tells a
client of ours more than a status can.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal

import msgspec

STATUS = "/status"
IMAGES = "/images"
PROGRESS = "/progress"
LISTENERS = "/listeners"
ACCOUNTS = "/accounts"
STOP = "/stop"

LONGEST_SOCKET_PATH = 100
"""Bytes: the path of a unix socket may have 107 on Linux and 103 on macOS."""
MOST_IMAGES = 500
"""That one question for progress may name."""
MOST_PORTS = 64
"""Of one account."""
LAST_TRANSFERS = 5.0
"""Seconds for which an engine lets transfers go on after the order to stop."""

CACHE_HEADER = "Obol-Cache"
"""Where an answer comes from: a `Source`."""
HELD_HEADER = "Obol-Held"
"""Bytes of a blob that were stored when it was asked for."""
PROBLEM_HEADER = "Obol-Problem"
"""Why there is nothing: a `Problem`."""


class Source(StrEnum):
    """Where an answer came from."""

    HIT = "hit"
    MISS = "miss"
    REVALIDATED = "revalidated"
    STALE = "stale"
    FILLING = "filling"
    """From a transfer that ran already."""


class Problem(StrEnum):
    """Why there is no answer, where statuses are too few to tell causes apart."""

    ABSENT = "absent"
    DENIED = "denied"
    RATE_LIMITED = "rate-limited"
    FAILING = "failing"
    OFFLINE = "offline"
    DISK = "disk"
    MISSES = "misses"
    """Clients ask for too many names that the upstream does not have."""


HealthName = Literal["unknown", "ok", "failing", "rate-limited"]

StoreState = Literal["ok", "full", "read-only", "failing"]

PlatformState = Literal["complete", "partial", "absent"]


class Listener(msgspec.Struct, frozen=True):
    """One address on which requests without `?ns=` are for `registry`."""

    registry: str
    """Whose images it serves."""
    address: str
    """An IP address of this machine."""
    port: int
    """The TCP port."""


class Amount(msgspec.Struct, frozen=True):
    """How much there is of something."""

    count: int
    """How many."""
    size: int
    """Bytes."""


class RequestCounts(msgspec.Struct, frozen=True):
    """What became of the requests since the engine started."""

    hit: int = 0
    """Answered by what is stored."""
    miss: int = 0
    """Answered by the upstream."""
    stale: int = 0
    """Answered by what is stored and old, because the upstream did not answer."""
    error: int = 0
    """Refused."""


class RateLimit(msgspec.Struct, frozen=True):
    """What an upstream allows, and what is left of it."""

    limit: int | None
    """Pulls that are allowed; null where it does not say."""
    remaining: int | None
    """Pulls that are left; null where it does not say."""


class UpstreamStatus(msgspec.Struct, frozen=True):
    """The state of one upstream."""

    registry: str
    """Its name, as in image references."""
    url: str
    """Where it is asked."""
    health: HealthName
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


class EngineStatus(msgspec.Struct, frozen=True):
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


def gives_way(engine: EngineStatus, command: str) -> bool:
    """Whether a command of that version starts this engine again: it is older, and fetches nothing now.

    This is the rule where versions meet. An engine that is older and busy goes on, and so does one that is newer; the
    command says so in one sentence. They understand each other, because fields are only ever added to this schema.
    """
    return not engine.fills and _release(engine.version) < _release(command)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


class HeldPlatform(msgspec.Struct, frozen=True):
    """What a cache has of one platform of an image."""

    platform: str
    """As in linux/arm64; "" for an image without an index, which does not say."""
    digest: str
    """Of its manifest."""
    state: PlatformState
    """complete; partial: blobs are missing; absent: not even its manifest was fetched."""
    size: int
    """Bytes of its blobs, held or not; 0 where it is absent."""
    missing_blobs: int
    """Blobs that are not held."""
    missing_bytes: int
    """Their size."""


class HeldImage(msgspec.Struct, frozen=True):
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


class Inventory(msgspec.Struct, frozen=True):
    """The images of a cache."""

    images: tuple[HeldImage, ...]
    """Each image, by registry, repository and tag."""


class ProgressRequest(msgspec.Struct, frozen=True):
    """The images that a client waits for."""

    images: tuple[str, ...]
    platforms: tuple[str, ...] = ()
    """As in linux/arm64; none for every platform whose manifest is held."""


class TransferStatus(msgspec.Struct, frozen=True):
    """One blob on its way, in bytes."""

    registry: str
    repository: str
    digest: str
    size: int | None
    """None where the upstream has not told."""
    frontier: int
    """Where the gapless beginning ends."""
    arrived: int
    """All that is there, with what lies behind a gap."""
    held: int
    """What was there when the transfer began: the rest of `arrived` came from the upstream since."""
    seconds: float
    """Since it began."""


class ImageProgress(msgspec.Struct, frozen=True):
    """One image, in bytes of its configuration and layers, each blob counted once."""

    reference: str
    total: int | None
    """None where its manifest is not held yet, so that its size is not known."""
    present: int
    kept: int
    """What of it stays if all transfers end now."""
    own_total: int
    own_present: int
    """The same without what an image before it in the question shares, so that these may be added up."""
    transfers: int
    """How many of its blobs are on their way."""


class ProgressStatus(msgspec.Struct, frozen=True):
    """How far the images are that were asked for, and every transfer that runs."""

    pid: int
    """Another one than before: the engine was restarted."""
    images: tuple[ImageProgress, ...]
    """In the order of the question."""
    transfers: tuple[TransferStatus, ...]


class AccountRequest(msgspec.Struct, frozen=True):
    """The account that a command wants: what each client is given from now on."""

    owner: int
    """Its process."""
    listeners: tuple[Listener, ...]
    """Ports for its own clients; 0 lets the system choose one."""


class Given(msgspec.Struct, frozen=True):
    """What one client was given of one registry since an account was opened; sizes in bytes, each byte once."""

    address: str
    """The address at which it asked, as the next."""
    port: int
    peer: str
    """The address from which it asked."""
    registry: str
    held: int
    """Of what was stored as a whole when the account was opened."""
    fetched: int
    """Of what came from the upstream since, for this client or for another one."""


class AccountStatus(msgspec.Struct, frozen=True):
    """What an account has come to."""

    name: str
    whole: bool
    """Whether it knows of everything that happened since it was opened."""
    listeners: tuple[Listener, ...]
    """The ports of its owner's clients, which are open for as long as the account is."""
    given: tuple[Given, ...] = ()


class ControlProblem(msgspec.Struct, frozen=True):
    """The body of an answer that is not what was asked for."""

    error: str
