"""A blob on its way into the store: all that its download, its followers, the watch and the status know of it.

The download writes the file. Every client, the first one too, is a follower, who reads the file up to the *frontier*,
the end of the gapless beginning. So a slow or vanished client hurts no other. The last bytes are shown only when the
digest is confirmed: no client can ever have received all of a wrong blob. Only the very first bytes are given from
memory while they are being written, to the followers that wait for them already.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from obol.machine.tasks import spawn
from obol.registry.store.ports import StoreError
from obol.registry.transfers.segments import SegmentMap
from obol.registry.transfers.slots import LEND_AFTER, HeldSlots
from obol.registry.upstream.ports import Unavailable

if TYPE_CHECKING:
    import hashlib
    from concurrent.futures import Executor

    from obol.machine.clock import Clock
    from obol.oci.references import Digest
    from obol.registry.settings import TimeLimits, TransferSettings
    from obol.registry.store.ports import Content, Partial, Partials, RepositoryKey
    from obol.registry.upstream.ports import BlobSource
    from obol.registry.upstream.slots import UpstreamSlots

MIB = 1024 * 1024
EARLY = 64 * 1024
"""Bytes that are given from memory at most."""
UNWANTED = 1.0
"""Seconds without a follower after which a transfer that is quiet makes room for those that wait."""
LOOK_EVERY = 0.5
GRACE = 15.0
"""Seconds that a transfer which is being ended may take to keep what it has."""


class TransferFailed(Exception):
    """The transfer will bring no more bytes, or not in time; `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Abandoned(Exception):
    """No client followed the transfer, or the cache stops."""


class Phase(Enum):
    """How far a transfer has come."""

    ASKING = "asking"
    """The upstream has not answered yet."""
    ARRIVING = "arriving"
    """The upstream answers, which also means that it lets this repository read the blob."""
    VERIFIED = "verified"
    """All bytes are there and have the digest; what fails now concerns the store alone."""
    REFUSED = "refused"
    """The transfer failed before the upstream answered."""
    BROKEN = "broken"
    """The transfer failed while the blob was arriving."""


@dataclass(slots=True)
class TransferCounts:
    """What the transfers from one upstream came to since the engine started."""

    received: int = 0
    """Bytes of blobs that the upstream sent, without headers."""
    fetched: int = 0
    """Those of transfers that have ended; with `seconds` the throughput."""
    seconds: float = 0.0
    """Time in which at least one transfer ran."""
    failed: int = 0
    stalled: int = 0
    """Transfers that the watch ended because nothing advanced them."""
    corrupt: int = 0
    """Transfers whose digest was wrong."""
    running: int = 0
    _since: float = 0.0

    def begin(self, now: float) -> None:
        """A transfer begins."""
        if not self.running:
            self._since = now
        self.running += 1

    def end(self, now: float, received: int) -> None:
        """A transfer has ended."""
        self.running -= 1
        self.fetched += received
        if not self.running:
            self.seconds += now - self._since

    def throughput(self) -> float | None:
        """Bytes a second, None where too little was fetched to tell."""
        if self.fetched < MIB or self.seconds <= 0:
            return None
        return self.fetched / self.seconds


@dataclass(frozen=True, slots=True)
class TransferEnvironment:
    """What all transfers of an engine share."""

    partials: Partials
    content: Content
    settings: TransferSettings
    limits: TimeLimits
    clock: Clock
    threads: Executor
    direct: set[object] = field(default_factory=set)
    """The followers that are given a part past the file."""


@dataclass(frozen=True, slots=True)
class BlobOrigin:
    """Where the bytes of a transfer come from, and where they are counted."""

    source: BlobSource
    slots: UpstreamSlots
    counts: TransferCounts


class Transfer:
    """One blob on its way. All of its users are on one event loop; they change it by its methods only."""

    def __init__(
        self,
        repo: RepositoryKey,
        digest: Digest,
        size: int | None,
        origin: BlobOrigin,
        environment: TransferEnvironment,
    ) -> None:
        self.repo = repo
        self.digest = digest
        self.origin = origin
        self.environment = environment
        self.segments = SegmentMap(size, environment.settings.segment)
        """What has arrived, and what is still to be taken: the one frontier and the one size."""
        self.slots = HeldSlots(origin.slots, environment.clock)
        self.phase = Phase.ASKING
        self.failure: Exception | None = None
        self.plain = False
        """Ranges of this upstream have proved wrong: one plain GET brings the blob."""
        self.held = 0
        """Bytes that were there when the transfer began."""
        self.early = b""
        """The blob's first bytes until they are in the file; a follower may be given them."""
        self.followers = 0
        self.received = 0
        """Bytes that came from the upstream, those that came twice counted twice."""
        self.ended_by: Exception | None = None
        """Why the watch ended the transfer."""
        self.began_at = self._idle_since = self._advanced_at = environment.clock.monotonic()
        self._task: asyncio.Task[None] | None = None
        self.file: Partial | None = None
        """What is written; there is none before `begin`."""
        self._over = False
        self._changed = asyncio.Event()

    @property
    def frontier(self) -> int:
        """Where the gapless beginning ends."""
        return self.segments.frontier

    @property
    def size(self) -> int | None:
        """Bytes of the blob, None while the upstream has not told."""
        return self.segments.size

    @property
    def verified(self) -> bool:
        """Whether all bytes are there and right."""
        return self.phase is Phase.VERIFIED

    @property
    def arrived(self) -> int:
        """Bytes that are there, with those behind a gap, which are lost if the transfer ends before it is closed."""
        count = self.frontier + self.segments.beyond
        return count if self.size is None else min(count, self.size)

    @property
    def partial(self) -> Partial:
        """The file, after `begin`."""
        assert self.file is not None
        return self.file

    def runs_in(self, task: asyncio.Task[None] | None) -> None:
        """The download runs in this task, which may be cancelled from now on."""
        self._task = task

    def begin(self, partial: Partial) -> None:
        """There is a file, perhaps with what an earlier transfer left."""
        self.file = partial
        self.held = self.segments.frontier = partial.left

    def answered(self, size: int | None) -> None:
        """The upstream answers, and has told how long the blob is, or shown it by ending there."""
        if size is not None:
            self.segments.size = size
        if self.phase is Phase.ASKING:
            self.phase = Phase.ARRIVING
        self.wake()

    def without_ranges(self) -> None:
        """From now on only a plain GET is used."""
        self.plain = True

    def receives(self, count: int) -> None:
        """So many bytes came from the upstream."""
        self.received += count
        self.origin.counts.received += count

    def opens(self, data: bytes) -> None:
        """The blob's first bytes are being written; no others may be written in their place any more."""
        self.early = data[: min(EARLY, self._without_end(len(data)))]
        self.wake()

    def wrote(self, start: int, stop: int) -> None:
        """These bytes are in the file."""
        self.advance()
        if self.segments.wrote(start, stop):
            self.early = b""
            self.wake()

    def advance(self) -> None:
        """There are new bytes, or some were hashed."""
        if self.ended_by is None:
            self._advanced_at = self.environment.clock.monotonic()

    def confirm(self) -> None:
        """All bytes are there and have the digest."""
        self.segments.size = self.frontier
        self.phase = Phase.VERIFIED
        self.wake()

    def fail(self, cause: Exception) -> None:
        """No more bytes will come; what is verified is not stored."""
        self.failure = cause
        if self.phase is Phase.ASKING:
            self.phase = Phase.REFUSED
        elif self.phase is Phase.ARRIVING:
            self.phase = Phase.BROKEN
        self.wake()

    def end(self) -> None:
        """The download is over; the file is closed when the last follower leaves."""
        self._over = True
        self._close_if_unused()

    async def hash(self, hasher: hashlib._Hash, start: int, stop: int) -> None:
        """Take up a part of the file. Raises TransferFailed where it cannot be read back."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self.environment.threads, _hash, hasher, self.partial, start, stop)
        except OSError as problem:
            raise TransferFailed(StoreError(f"the partial cannot be read back: {problem.strerror}")) from problem

    def wake(self) -> None:
        """Tell all who wait that something changed."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def moved(self, frontier: int) -> None:
        """Wait until something changed since the frontier was here."""
        if self.frontier == frontier:
            await self._changed.wait()

    def follow(self) -> None:
        """One follower more."""
        self.followers += 1

    def leave(self) -> None:
        """One follower less."""
        self.followers -= 1
        self._idle_since = self.environment.clock.monotonic()
        self._close_if_unused()

    @property
    def shown(self) -> int:
        """How many leading bytes a follower may be given from the file."""
        return self.frontier if self.verified else self._without_end(self.frontier)

    async def begun(self) -> None:
        """Wait for the upstream's first answer. Raises TransferFailed."""
        while self.phase is Phase.ASKING:
            await self._changed.wait()
        if self.phase is Phase.REFUSED and self.failure is not None:
            raise TransferFailed(self.failure)

    async def grown(self, beyond: int) -> int:
        """Wait until more than `beyond` bytes may be given, or all; returns how many. Raises TransferFailed."""
        while True:
            there = max(self.shown, len(self.early))
            if self.verified or there > beyond:
                return there
            if self.failure is not None:
                raise TransferFailed(self.failure)
            await self._changed.wait()

    def idle(self) -> float:
        """Seconds since the last follower left; 0 while there is one."""
        return 0.0 if self.followers else self.environment.clock.monotonic() - self._idle_since

    def stood_still(self) -> float:
        """Seconds since new bytes came or some were hashed; 0 when all are verified."""
        return 0.0 if self.verified else self.environment.clock.monotonic() - self._advanced_at

    def stop(self, why: Exception) -> bool:
        """End the download, which keeps what it has; False if it does not run or ends already."""
        if self._task is None or self.ended_by is not None:
            return False
        self.ended_by = why
        return self._task.cancel()

    def give_up(self) -> None:
        """Free slots and followers of a transfer that does not end; safe to repeat."""
        self.slots.close()
        if self.failure is None:
            self.fail(Unavailable("the transfer of the blob stood still"))
        if self._task is not None:
            self._task.cancel()

    def _without_end(self, count: int) -> int:
        """How many of the first `count` bytes are none of the last, which are withheld."""
        end = count if self.size is None else self.size
        return max(0, min(count, end - self.environment.settings.withhold))

    def _close_if_unused(self) -> None:
        if self._over and not self.followers and self.file is not None:
            self.file.close()


def _hash(hasher: hashlib._Hash, partial: Partial, start: int, stop: int) -> None:
    while start < stop:
        piece = partial.read(start, min(stop - start, MIB))
        if not piece:
            raise OSError(errno.EIO, "the file is shorter than what was written")
        hasher.update(piece)
        start += len(piece)


class Watch:
    """Ends transfers that nothing advances, for any reason, and has those that are quiet lend their slots.

    Each wait of a transfer has a limit of its own. This is the limit for what those overlook: a wakeup that was lost, a
    worker that vanished, a mistake in a library.
    """

    def __init__(self, transfers: Callable[[], Iterable[Transfer]], limit: float) -> None:
        self._transfers = transfers
        self._limit = limit
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look at all transfers twice a second. Needs a running loop."""
        self._looking = spawn(self._look_on(), name="watch")

    def look(self) -> None:
        """Look once."""
        for transfer in self._transfers():
            still = transfer.stood_still()
            transfer.slots.lend()
            quiet = transfer.slots.quiet() or still >= LEND_AFTER
            if quiet and transfer.idle() >= UNWANTED and transfer.origin.slots.wanted():
                transfer.stop(Abandoned("no client wants the blob, and others wait"))
            if still >= self._limit and transfer.stop(Unavailable("the transfer of the blob stood still")):
                transfer.origin.counts.stalled += 1
            if still >= self._limit + GRACE:
                transfer.give_up()

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look()
