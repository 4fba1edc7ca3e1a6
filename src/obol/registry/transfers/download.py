"""The download of one blob from its upstream into a partial.

It goes in *rounds*. A round opens one connection, learns from the answer whether ranges are honoured, and if so opens
more, each of which takes the next segment when it has done one. A connection that fails gives back what it did not
bring and stops; when all have stopped and bytes are missing, another round begins with half as many. The digest is
computed behind the frontier, from the file, so that what is verified is what is stored.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from obol.machine.tasks import members, most_telling, spawn
from obol.oci.references import new_hash
from obol.registry.policy.health import Hold
from obol.registry.policy.retry import delay, give_up
from obol.registry.store.ports import Partial, StoreError, transfer_id
from obol.registry.transfers.segments import Segment, connections
from obol.registry.transfers.transfer import Abandoned, Phase, Transfer, TransferFailed
from obol.registry.upstream.ports import (
    BlobStream,
    Busy,
    Misbehaved,
    NoConnection,
    OnHold,
    RangesRefused,
    RateLimited,
    Unavailable,
    UpstreamError,
)

if TYPE_CHECKING:
    from obol.registry.transfers.slots import HeldSlot

PROGRESS = 64 * 1024
"""A round that brings fewer bytes counts as one that brought nothing."""
HASH_PIECE = 4 * 1024 * 1024


class Download:
    """Carries out one transfer. What others may know of it stands in the transfer."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._segments = transfer.segments
        self._slots = transfer.slots
        self._environment = transfer.environment
        self._settings = transfer.environment.settings
        self._most = self._settings.connections_per_fill
        """Connections at a time."""
        self._gained = 0
        """Bytes that were not there before."""
        self._over = False
        self._asked_range = False
        self._problems: list[Exception] = []

    async def run(self) -> None:
        """Fetch, verify and commit. Followers learn what goes wrong by `Transfer.fail`; it is not raised."""
        transfer = self._transfer
        transfer.runs_in(asyncio.current_task())
        try:
            # Before the file: a transfer that waits for a connection holds no descriptor meanwhile.
            slot = await self._slots.first(self._environment.limits.blob_headers)
            transfer.begin(await self._open_partial())
            verifier = spawn(self._verify(), name="verify")
            try:
                await self._rounds(slot)
            finally:
                # Not cancelled: a thread may be reading the file, which must not be closed under it.
                self._over = True
                transfer.wake()
                right = await verifier
            if isinstance(right, Exception):
                raise right
            if not right:
                transfer.origin.counts.corrupt += 1
                raise Misbehaved("the upstream's blob does not have the digest that it should have")
            transfer.confirm()
            await self._environment.content.adopt(transfer.partial, transfer.digest, transfer.frontier)
        except (UpstreamError, StoreError, Abandoned) as problem:
            transfer.origin.counts.failed += 1
            await self._leave_off(problem)
        except asyncio.CancelledError:
            if transfer.ended_by is None:
                await self._leave_off(Abandoned("the cache is stopping"))
                raise
            transfer.origin.counts.failed += 1
            await self._leave_off(transfer.ended_by)
        finally:
            self._slots.close()
            if not transfer.verified and transfer.failure is None:
                # A mistake of our own, which is reported elsewhere: followers must not wait for more.
                transfer.fail(Unavailable("the transfer of the blob broke off"))
            transfer.end()

    async def _open_partial(self) -> Partial:
        """What an earlier transfer left, unless that is more than the whole blob: it was told another length."""
        partials, size = self._environment.partials, self._transfer.size
        name = transfer_id(self._transfer.digest, self._transfer.repo.scope)
        partial = await partials.open(name)
        if size is None or partial.left <= size:
            return partial
        try:
            await partial.discard()
        finally:
            partial.close()
        return await partials.open(name)

    async def _rounds(self, first: HeldSlot) -> None:
        transfer, barren = self._transfer, 0
        slot: HeldSlot | None = first
        while not self._segments.complete:
            before = self._gained
            try:
                taken, slot = slot or await self._slots.first(self._environment.limits.blob_headers), None
                await self._round(taken)
            except RangesRefused:
                if transfer.plain:
                    raise
                transfer.without_ranges()
            except (Unavailable, RateLimited, OnHold) as problem:
                if self._may_be_the_range(problem):
                    transfer.without_ranges()
                    continue
                barren = 0 if self._gained - before >= PROGRESS else barren + 1
                if barren > self._settings.resumes:
                    raise
                self._most = max(1, self._most // 2)
                await self._pause(problem, barren)

    def _may_be_the_range(self, problem: UpstreamError) -> bool:
        """Whether a plain request may bring what a range has not: a store may answer ranges with any error."""
        if not self._asked_range or self._transfer.plain or self._transfer.phase is not Phase.ASKING:
            return False
        return isinstance(problem, Unavailable) and not isinstance(problem, NoConnection | Busy)

    async def _pause(self, problem: Unavailable | RateLimited | OnHold, barren: int) -> None:
        """Wait before another round, or raise `problem` where that is no use.

        A short hold is waited for, since some clients have no other source for a blob whose manifest we served. Where
        nothing was answered at all, the upstream's own retries were enough and the client should go elsewhere.
        """
        patience = self._environment.limits.blob_headers / 2
        match problem:
            case Unavailable() if self._transfer.phase is not Phase.ASKING:
                seconds = delay(barren, random.random())  # noqa: S311 - jitter
            case RateLimited(seconds=seconds) | OnHold(hold=Hold(seconds=seconds)) if seconds <= patience:
                pass
            case _:
                raise problem
        await self._environment.clock.sleep(seconds)

    async def _round(self, slot: HeldSlot) -> None:
        self._problems.clear()
        try:
            stream, segment = await self._open_first()
        except BaseException:
            self._slots.close()
            raise
        if stream.ranged and self._transfer.size is not None:
            left = self._transfer.size - self._segments.frontier
            self._most = min(self._most, connections(left, self._settings))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(group, slot, segment, stream))
        except ExceptionGroup as problems:
            # The disk's before the upstream's, a refusal of ranges before others.
            raise most_telling(members(problems), StoreError, Abandoned, RangesRefused) from None
        finally:
            # A task that was cancelled before it began has given nothing back.
            stream.close()
            self._slots.close()
        if self._problems and not self._segments.complete:
            raise self._problems[0]

    async def _open_first(self) -> tuple[BlobStream, Segment]:
        """Open the round's first connection; the segment is what it brings (all, where ranges are not used)."""
        transfer = self._transfer
        size, source = transfer.size, transfer.origin.source
        small = transfer.frontier == 0 and size is not None and size <= self._settings.segmented_above
        segment = None if transfer.plain or small else self._segments.take()
        self._asked_range = segment is not None
        if segment is None:
            stream = await source.open(0, None, plain=True)
        else:
            try:
                stream = await source.open(segment.start, segment.stop)
            except BaseException:
                self._segments.give_back(segment)
                raise
        if stream.total is None and stream.ranged:
            stream.close()
            raise RangesRefused("the upstream does not say how long the blob is")
        if size is not None and stream.total not in {None, size}:
            stream.close()
            raise Misbehaved("the upstream's blob has another length than its descriptor says")
        transfer.answered(stream.total)
        whole = self._segments.whole()
        if segment is None or not stream.ranged:
            return stream, whole
        return stream, Segment(segment.start, min(segment.stop, whole.stop))

    def _grow(self, group: asyncio.TaskGroup) -> None:
        while len(self._slots) < self._most and not self._segments.exhausted and (slot := self._slots.more()):
            group.create_task(self._work(group, slot, self._segments.take()))

    async def _work(
        self, group: asyncio.TaskGroup, slot: HeldSlot, segment: Segment | None, stream: BlobStream | None = None
    ) -> None:
        """Bring segments until none is left, a connection fails, or there are too many. `stream`: the round's first."""
        try:
            while segment is not None:
                await self._bring(group, slot, segment, stream)
                stream = None
                if self._segments.complete:
                    return
                await self._transfer.partial.checkpoint(self._segments.frontier)
                if self._slots.crowded():
                    return
                segment = self._segments.take()
                self._grow(group)
        except (Unavailable, RateLimited, OnHold) as problem:
            self._problems.append(problem)
        finally:
            self._slots.release(slot)

    async def _bring(
        self, group: asyncio.TaskGroup, slot: HeldSlot, segment: Segment, stream: BlobStream | None
    ) -> None:
        """Write what one connection brings; what it does not is given back."""
        at, ranged = segment.start, stream is None or stream.ranged
        # More connections wait for the first bytes: making them takes longer than passing those on.
        alone = stream is not None and ranged
        try:
            if stream is None:
                stream = await self._transfer.origin.source.open(segment.start, segment.stop)
                if not stream.ranged:
                    raise RangesRefused("the upstream honours only some ranges")
            while data := await stream.read():
                self._slots.brought(slot, len(data))
                new = await self._write(at, data)
                at += len(data)
                if alone and new:
                    alone = False
                    self._grow(group)
        finally:
            if stream is not None:
                stream.close()
            if ranged:
                self._segments.give_back(Segment(at, segment.stop))
        if self._transfer.size is None:
            self._transfer.answered(at)

    async def _write(self, at: int, data: bytes) -> bool:
        """Write bytes that came; tells whether there were new ones among them."""
        transfer, frontier = self._transfer, self._transfer.frontier
        transfer.receives(len(data))
        if give_up(frontier, transfer.size, transfer.idle(), self._environment.limits.abandoned):
            raise Abandoned("no client wants the blob any more")
        skip = max(0, frontier - at)
        if skip >= len(data):
            return False
        if not at and not frontier:
            # No other connection is there yet that could fail meanwhile: they are written, or the transfer is over.
            transfer.opens(data)
            await asyncio.sleep(0)  # followers that wait for them go first
        await transfer.partial.write(at + skip, memoryview(data)[skip:])
        self._gained += len(data) - skip
        transfer.wrote(at + skip, at + len(data))
        return True

    async def _verify(self) -> bool | Exception:
        """Hash along the frontier; tells, when all bytes are there, whether they have the digest."""
        transfer, hasher = self._transfer, new_hash(self._transfer.digest.algorithm)
        done = 0
        while not self._segments.complete or done < transfer.frontier:
            if done >= transfer.frontier:
                if self._over:
                    return False
                await transfer.moved(done)
                continue
            stop = min(transfer.frontier, done + HASH_PIECE)
            try:
                await transfer.hash(hasher, done, stop)
            except TransferFailed as failed:
                return failed.cause
            done = stop
            transfer.advance()
        return hasher.hexdigest() == transfer.digest.hex

    async def _leave_off(self, problem: Exception) -> None:
        """Keep what came for the next transfer, unless it is wrong or the disk fails."""
        transfer = self._transfer
        if transfer.file is not None:
            with suppress(StoreError):  # what stays is hashed again before it is believed
                if isinstance(problem, Misbehaved | StoreError):
                    await transfer.file.discard()
                else:
                    await transfer.file.checkpoint(transfer.frontier, durable=True)
        # Only now: the next transfer takes up the file where the checkpoint says, while followers of this one read it.
        transfer.fail(problem)
