"""A blob on its way into the store, as those see it who follow it.

The transfer (`fetch`) writes the file; every client, the first one too, is a follower who reads the file up to the
*frontier*, the end of the contiguous prefix. So a slow or vanished client hurts nobody. The last bytes are shown only
when the digest is confirmed: a client can never have received all of a wrong blob. Only the very first bytes are given
from memory, to those who wait for them already, while they are being written.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obol.machine.clock import Clock
    from obol.oci.references import Digest
    from obol.registry.store.ports import Partial, RepositoryKey
    from obol.registry.transfers.segments import SegmentMap
    from obol.registry.upstream.ports import BlobSource

EARLY = 64 * 1024
"""Bytes that are given from memory at most."""


class TransferFailed(Exception):
    """The transfer will bring no more bytes; `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Transfer:
    """The shared state of one transfer. Written by `fetch`, read by followers, all on one event loop."""

    def __init__(self, repo: RepositoryKey, digest: Digest, size: int | None, source: BlobSource, clock: Clock) -> None:
        self.repo = repo
        self.digest = digest
        self.size = size
        self.source = source
        self.plain = False
        """Ranges of this upstream have proved wrong: fetch by one plain GET."""
        self.opened = False
        """The upstream has begun to answer, which also means that it lets this repository read the blob."""
        self.frontier = 0
        self.held = 0
        """Bytes that were there when the transfer began."""
        self.pieces: SegmentMap | None = None
        """What has arrived; the transfer's own, to be looked at only."""
        self.began_at = clock.monotonic()
        self.early = b""
        """The blob's first bytes until they are in the file; a follower may be given them."""
        self.verified = False
        self.failure: Exception | None = None
        self.followers = 0
        self.withheld = 0
        self._clock = clock
        self._idle_since = clock.monotonic()
        self._partial: Partial | None = None
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def partial(self) -> Partial:
        """The file being written; there is none before the transfer begins."""
        assert self._partial is not None
        return self._partial

    @property
    def has_file(self) -> bool:
        """Whether the transfer has begun to write."""
        return self._partial is not None

    @property
    def arrived(self) -> int:
        """Bytes that are there, with those behind a gap, which are lost if the transfer ends before it is closed."""
        count = self.frontier + (self.pieces.beyond if self.pieces else 0)
        return count if self.size is None else min(count, self.size)

    def begin(self, partial: Partial, withhold: int) -> None:
        """The transfer begins to write."""
        self._partial = partial
        self.withheld = withhold
        self.frontier = self.held = partial.left

    def arrives(self, data: bytes) -> None:
        """The blob's first bytes are being written; no others may be written in their place any more."""
        self.early = data[: min(EARLY, self._without_end(len(data)))]
        self.changed()

    def reaches(self, frontier: int) -> None:
        """The file has all bytes up to here."""
        self.frontier = frontier
        self.early = b""
        self.changed()

    def changed(self) -> None:
        """Tell the followers that something changed."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    def fail(self, cause: Exception) -> None:
        """No more bytes will come."""
        self.failure = cause
        self.changed()

    def confirm(self) -> None:
        """All bytes are there and have the digest."""
        self.size = self.frontier
        self.verified = True
        self.changed()

    def end(self) -> None:
        """The transfer is over; the file is closed when the last follower leaves."""
        self._ended = True
        self._close_if_unused()

    @property
    def shown(self) -> int:
        """How many leading bytes a follower may be given from the file."""
        return self.frontier if self.verified else self._without_end(self.frontier)

    def _without_end(self, count: int) -> int:
        """How many of the first `count` bytes are none of the last, which are withheld."""
        end = count if self.size is None else self.size
        return max(0, min(count, end - self.withheld))

    async def grown(self, beyond: int) -> int:
        """Wait until more than `beyond` bytes may be given, or all; returns how many. Raises TransferFailed."""
        while True:
            there = max(self.shown, len(self.early))
            if self.verified or there > beyond:
                return there
            if self.failure is not None:
                raise TransferFailed(self.failure)
            await self._changed.wait()

    async def begun(self) -> None:
        """Wait for the upstream's first answer. Raises TransferFailed."""
        while not (self.opened or self.verified):
            if self.failure is not None:
                raise TransferFailed(self.failure)
            await self._changed.wait()

    async def moved(self, frontier: int) -> None:
        """Wait until something changed since the frontier was here."""
        if self.frontier == frontier:
            await self._changed.wait()

    @contextmanager
    def followed(self) -> Iterator[Transfer]:
        """Count a follower for as long as the block runs."""
        self.followers += 1
        try:
            yield self
        finally:
            self.followers -= 1
            self._idle_since = self._clock.monotonic()
            self._close_if_unused()

    def idle(self) -> float:
        """Seconds since the last follower left; 0 while there is one."""
        return 0.0 if self.followers else self._clock.monotonic() - self._idle_since

    def _close_if_unused(self) -> None:
        if self._ended and not self.followers and self._partial is not None:
            self._partial.close()
