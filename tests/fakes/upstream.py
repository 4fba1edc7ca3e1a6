"""An `Upstream` without a network: what it holds and how it misbehaves is set by the test, while it runs."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from obol.oci.manifests import parse_manifest
from obol.oci.references import Digest, Reference, Repository, Tag, parse_reference
from obol.registry.control.api import RateLimit
from obol.registry.policy.health import Ask, Health, Hold
from obol.registry.settings import UpstreamSettings
from obol.registry.upstream.ports import (
    Absent,
    Listing,
    ManifestBody,
    ManifestHead,
    Misbehaved,
    RangesRefused,
    Unavailable,
    UpstreamError,
)
from obol.registry.upstream.slots import UpstreamSlots
from tests.fakes.content import FakeImage, Stored


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: the method of the port, the repository, and the reference, digest or target."""

    method: str
    repository: str
    about: str
    accept: str = ""
    span: tuple[int, int | None] | None = None
    """What `open` of a blob asked for; None for all, without a range."""


@dataclass
class FakeSlots(UpstreamSlots):
    """Connections for blobs, counted."""

    free: int = 16
    wanted_by_others: bool = False
    problem: UpstreamError | None = None
    taken: int = 0
    lent: int = 0
    most: int = 0

    async def first(self, within: float) -> None:
        if self.problem is not None:
            raise self.problem
        self._take()

    def more(self) -> bool:
        if self.taken >= self.free or self.wanted_by_others:
            return False
        self._take()
        return True

    def crowded(self) -> bool:
        return self.wanted_by_others

    def wanted(self) -> bool:
        return self.wanted_by_others

    def lend(self) -> bool:
        self.lent += 1
        return True

    def reclaim(self) -> None:
        self.lent -= 1
        assert self.lent >= 0

    def release(self) -> None:
        self.taken -= 1
        assert self.taken >= 0

    def _take(self) -> None:
        self.taken += 1
        self.most = max(self.most, self.taken)


@dataclass
class FakeBlob:
    """The bytes of one blob and how they come.

    - `piece`: bytes of one read; others get a turn before each.
    - `ranges`: a range is honoured; else the whole is sent from 0, or RangesRefused raised for a range not from 0.
    - `open_problems`: what the next openings raise, in order; None lets one pass.
    - `cuts`: after how many bytes the next streams end with Unavailable, in order; None lets one pass.
    - `hold_at`: reads at or beyond this offset wait until `let_go`.
    - `total`: the size that answers tell; None for none. At first that of `data`.
    - `failing_at`: a read at or beyond this offset raises `problem`.
    """

    data: bytes
    piece: int = 256
    ranges: bool = True
    open_problems: deque[UpstreamError | None] = field(default_factory=deque)
    cuts: deque[int | None] = field(default_factory=deque)
    hold_at: int | None = None
    total: int | None = None
    failing_at: int | None = None
    problem: UpstreamError = field(default_factory=lambda: Unavailable("cut"))
    streams: list[FakeStream] = field(default_factory=list)
    _going: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.total = len(self.data)

    def let_go(self) -> None:
        self.hold_at = None
        self._going.set()
        self._going = asyncio.Event()

    def hold(self, at: int) -> None:
        """Hold reads at or beyond `at`."""
        self.hold_at = at

    async def held(self, at: int) -> None:
        """Wait while reads at `at` are held."""
        while self.hold_at is not None and at >= self.hold_at:
            await self._going.wait()

    @property
    def sent(self) -> int:
        """Bytes that were read from all streams."""
        return sum(stream.sent for stream in self.streams)


class FakeStream:
    """The body of one answer."""

    def __init__(self, blob: FakeBlob, start: int, stop: int, *, ranged: bool, cut: int | None) -> None:
        self.start = start
        self.total = blob.total
        self.ranged = ranged
        self.sent = 0
        self.closed = False
        self._blob = blob
        self._at = start
        self._stop = stop
        self._cut = cut

    async def read(self) -> bytes:
        blob = self._blob
        await asyncio.sleep(0)
        await blob.held(self._at)
        if blob.failing_at is not None and self._at >= blob.failing_at:
            raise blob.problem
        stop = min(self._stop, self._at + blob.piece)
        if self._cut is not None:
            stop = min(stop, self.start + self._cut)
            if self._at >= stop and self._at < self._stop:
                raise Unavailable("the upstream cut the body")
        if blob.hold_at is not None:
            stop = min(stop, blob.hold_at)
        data = blob.data[self._at : stop]
        self._at += len(data)
        self.sent += len(data)
        return data

    def close(self) -> None:
        self.closed = True


class FakeSource:
    """One blob in one repository."""

    def __init__(self, upstream: FakeUpstream, repository: Repository, digest: Digest) -> None:
        self._upstream = upstream
        self._repository = repository
        self._digest = digest

    async def open(self, start: int, stop: int | None, *, plain: bool = False) -> FakeStream:
        """Open a stream, unless the script says otherwise."""
        upstream = self._upstream
        span = None if plain else (start, stop)
        await upstream.ask(Asked("open", self._repository, self._digest, span=span))
        blob = upstream.blob_of(self._repository, self._digest)
        if blob.open_problems and (problem := blob.open_problems.popleft()) is not None:
            raise problem
        cut = blob.cuts.popleft() if blob.cuts else None
        end = len(blob.data)
        if plain:
            stream = FakeStream(blob, 0, end, ranged=False, cut=cut)
        elif blob.ranges:
            stream = FakeStream(blob, start, end if stop is None else min(stop, end), ranged=True, cut=cut)
        elif start:
            raise RangesRefused("ranges are refused")
        else:
            stream = FakeStream(blob, 0, end, ranged=False, cut=cut)
        blob.streams.append(stream)
        return stream


@dataclass
class _Held:
    manifests: dict[str, Stored] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, FakeBlob] = field(default_factory=dict)


class FakeUpstream:
    """One registry, in memory.

    - `problems`: what a method of the port (`head_manifest`, `get_manifest`, `head_blob`, `open`, `listing`) raises.
    - `gates`: a method waits for its event before it answers.
    - `hold`: what the gate says; None is: ask.
    - `by_accept`: a tag's digest by what is in the Accept line, where it varies: (tag, media type) -> digest.
    - `head_tells`: a HEAD of a manifest tells the digest, type and size; else none of them.
    """

    def __init__(self, registry: str = "registry.test") -> None:
        self.settings = UpstreamSettings(registry, f"https://{registry}")
        self.connections = FakeSlots()
        self.slots: UpstreamSlots = self.connections
        self.health = Health()
        self.budget: RateLimit | None = None
        self.last_problem = ""
        self.requests = 0
        self.asked: list[Asked] = []
        self.problems: dict[str, UpstreamError] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.hold: Hold | None = None
        self.by_accept: dict[tuple[str, str], str] = {}
        self.head_tells = True
        self.size_told = True
        self.lists: dict[str, Listing] = {}
        self._repositories: dict[str, _Held] = {}

    def count(self, method: str, about: str = "") -> int:
        """How many questions of one method were about something."""
        return sum(1 for asked in self.asked if asked.method == method and about in asked.about)

    def add(self, repository: str, tag: str | None, image: FakeImage) -> None:
        """Push an image; without a tag only by digest. Said again with another image, the tag moves."""
        held = self._repositories.setdefault(repository, _Held())
        held.manifests |= image.manifests
        for digest, data in image.blobs.items():
            held.blobs[digest] = FakeBlob(data)
        if tag is not None:
            held.tags[tag] = image.top

    def add_blob(self, repository: str, digest: str, data: bytes) -> FakeBlob:
        """Hold a blob (whose bytes may be wrong) in a repository; returns what can be scripted."""
        blob = FakeBlob(data)
        self._repositories.setdefault(repository, _Held()).blobs[digest] = blob
        return blob

    def remove(self, repository: str, reference: str) -> None:
        """Forget a tag, manifest or blob."""
        held = self._repositories[repository]
        for kept in (held.tags, held.manifests, held.blobs):
            kept.pop(reference, None)

    def blob_of(self, repository: str, digest: str) -> FakeBlob:
        """What can be scripted of a blob. Raises Absent."""
        held = self._repositories.get(repository)
        if held is None or digest not in held.blobs:
            raise Absent("no such blob")
        return held.blobs[digest]

    async def ask(self, asked: Asked) -> None:
        """Note a question, wait for its gate, raise its problem."""
        self.asked.append(asked)
        self.requests += 1
        gate = self.gates.get(asked.method)
        if gate is not None:
            await gate.wait()
        else:
            await asyncio.sleep(0)
        problem = self.problems.get(asked.method)
        if problem is not None:
            raise problem

    def gate(self) -> Ask | Hold:
        return Ask() if self.hold is None else self.hold

    async def head_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestHead:
        """Tell digest, type and size, or nothing."""
        await self.ask(Asked("head_manifest", repository, reference, accept))
        digest, stored = self._manifest(repository, reference, accept)
        if not self.head_tells:
            return ManifestHead(None, "", None)
        return ManifestHead(digest, stored.media_type, len(stored.body))

    async def get_manifest(self, repository: Repository, reference: Reference, accept: str) -> ManifestBody:
        await self.ask(Asked("get_manifest", repository, reference, accept))
        digest, stored = self._manifest(repository, reference, accept)
        if Digest.of(stored.body) != digest:
            raise Misbehaved("wrong digest")
        return ManifestBody(digest, parse_manifest(stored.body, stored.media_type), stored.body)

    def _manifest(self, repository: Repository, reference: Reference, accept: str) -> tuple[Digest, Stored]:
        held = self._repositories.get(repository)
        if held is None:
            raise Absent("no such repository")
        digest = held.tags.get(reference, reference) if isinstance(reference, Tag) else reference
        for (tag, media_type), varied in self.by_accept.items():
            # What a client lists comes first in the line, before what the engine adds.
            if tag == reference and accept.startswith(media_type):
                digest = varied
        if digest not in held.manifests:
            raise Absent("no such manifest")
        found = parse_reference(digest)
        assert isinstance(found, Digest)
        return found, held.manifests[digest]

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        await self.ask(Asked("head_blob", repository, digest))
        size = len(self.blob_of(repository, digest).data)
        return size if self.size_told else None

    def blob(self, repository: Repository, digest: Digest, size: int | None) -> FakeSource:
        return FakeSource(self, repository, digest)

    async def listing(self, repository: Repository, target: str, accept: str) -> Listing:
        """A page that the test set for the target."""
        await self.ask(Asked("listing", repository, target, accept))
        if target not in self.lists:
            raise Absent("no such list")
        return self.lists[target]
