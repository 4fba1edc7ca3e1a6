"""The transfer of one blob from its upstream into a partial.

It goes in *rounds*. A round opens one connection, learns from the answer whether ranges are honoured, and if so opens
more, each of which takes the next segment when it has done one. A connection that fails gives back what it did not
bring and stops; when all have stopped and bytes are missing, another round begins with half as many. The digest is
computed behind the frontier, from the file, so that what is verified is what is stored.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obol.machine.tasks import members, most_telling, spawn
from obol.oci.references import new_hash
from obol.registry.policy.health import Hold
from obol.registry.policy.retry import delay, give_up
from obol.registry.store.ports import Content, Partial, Partials, StoreError, transfer_id
from obol.registry.transfers.connections import LEND_AFTER, UNWANTED, Line, Lines
from obol.registry.transfers.relay import hash_run
from obol.registry.transfers.segments import Segment, SegmentMap, connections
from obol.registry.upstream.ports import (
    BlobStream,
    Busy,
    Misbehaved,
    NoConnection,
    OnHold,
    RangesRefused,
    RateLimited,
    Slots,
    Unavailable,
    UpstreamError,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from obol.machine.clock import Clock
    from obol.registry.engine.accounts import Counters
    from obol.registry.settings import FillSettings, TimeLimits
    from obol.registry.transfers.transfer import Transfer

UNSIZED = 1 << 62
PROGRESS = 64 * 1024
"""A round that brings fewer bytes counts as one that brought nothing."""
HASH_PIECE = 4 * 1024 * 1024


class Abandoned(Exception):
    """The transfer was given up because nobody followed it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every fetch needs; `direct` are those who are given a part past the file."""

    partials: Partials
    content: Content
    settings: FillSettings
    limits: TimeLimits
    clock: Clock
    threads: Executor
    direct: set[object] = field(default_factory=set)


class Download:
    """Carries out one transfer. The watch may end it: see `watch.Watched`."""

    def __init__(self, transfer: Transfer, around: Surroundings, slots: Slots, counters: Counters) -> None:
        self._transfer = transfer
        self._around = around
        self._lines = Lines(slots, around.clock)
        self._counters = counters
        self._map = SegmentMap(UNSIZED, around.settings.segment)
        self._target = around.settings.connections_per_fill
        self.received = 0
        """Bytes that came from the upstream, those that came twice counted twice."""
        self._gained = 0
        """Bytes that were not there before."""
        self._advanced_at = around.clock.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._why: Exception | None = None
        self._first_line: Line | None = None
        self._ungrown: asyncio.TaskGroup | None = None
        self._over = False
        self._asked_range = False
        self._problems: list[Exception] = []

    async def run(self) -> None:
        """Download, verify and commit. Never raises what followers are told by `Transfer.fail`."""
        transfer = self._transfer
        self._task = asyncio.current_task()
        try:
            # Before the file: who waits for a connection holds no descriptor meanwhile.
            self._first_line = await self._lines.first(self._around.limits.blob_headers)
            transfer.begin(await self._open_partial(), self._around.settings.withhold)
            self._map = SegmentMap(
                UNSIZED if transfer.size is None else transfer.size, self._map.length, transfer.frontier
            )
            transfer.pieces = self._map
            verifier = spawn(self._verify(), name="verify")
            try:
                await self._rounds()
            finally:
                # Not cancelled: a thread may be reading the file, which must not be closed under it.
                self._over = True
                transfer.changed()
                right = await verifier
            await self._conclude(right)
        except (UpstreamError, StoreError, Abandoned) as problem:
            await self._failed(problem)
        except asyncio.CancelledError:
            if self._why is None:
                await self._keep(Abandoned("the cache is stopping"))
                raise
            await self._failed(self._why)
        finally:
            self._lines.close()
            if not transfer.verified and transfer.failure is None:
                # A mistake of our own, which is reported elsewhere: whoever follows must not wait for more.
                transfer.fail(Unavailable("the transfer of the blob broke off"))
            transfer.end()

    def lend(self) -> None:
        """Lend the slots of lines that are quiet; where others wait all the same, end what is quiet and unwanted."""
        self._lines.lend()
        quiet = self._lines.quiet() or self.stood_still() >= LEND_AFTER
        if quiet and self._transfer.idle() >= UNWANTED and self._lines.wanted():
            self._end(Abandoned("nobody wants the blob, and others wait"))

    def stood_still(self) -> float:
        """Seconds since new bytes came or some were hashed; 0 when all are verified."""
        return 0.0 if self._transfer.verified else self._around.clock.monotonic() - self._advanced_at

    def end(self) -> None:
        """End it because it stands still, keeping what it has."""
        if self._end(Unavailable("the transfer of the blob stood still")):
            self._counters.fills_stalled += 1

    def _end(self, why: Exception) -> bool:
        if self._task is None or self._why is not None:
            return False
        self._why = why
        return self._task.cancel()

    def give_up(self) -> None:
        """End it as it is, for it does not end by itself."""
        self._lines.close()
        if self._transfer.failure is None:
            self._transfer.fail(Unavailable("the transfer of the blob stood still"))
        if self._task is not None:
            self._task.cancel()

    def _advanced(self) -> None:
        if self._why is None:
            self._advanced_at = self._around.clock.monotonic()

    async def _open_partial(self) -> Partial:
        """What an earlier transfer left, unless that is more than the whole blob: it was told another length."""
        partials, transfer = self._around.partials, self._transfer
        partial = await partials.open(transfer_id(transfer.digest, transfer.repo.scope))
        if transfer.size is None or partial.left <= transfer.size:
            return partial
        try:
            await partial.discard()
        finally:
            partial.close()
        return await partials.open(transfer_id(transfer.digest, transfer.repo.scope))

    async def _rounds(self) -> None:
        barren = 0
        while not self._map.complete:
            before = self._gained
            try:
                await self._round()
            except RangesRefused:
                if self._transfer.plain:
                    raise
                self._transfer.plain = True
                continue
            except (Unavailable, RateLimited, OnHold) as problem:
                if self._may_be_the_range(problem):
                    self._transfer.plain = True
                    continue
                barren = 0 if self._gained - before >= PROGRESS else barren + 1
                if barren > self._around.settings.resumes:
                    raise
                self._target = max(1, self._target // 2)
                await self._pause(problem, barren)

    def _may_be_the_range(self, problem: UpstreamError) -> bool:
        """Whether a plain request may bring what a range has not: a store may answer ranges with any error."""
        away = isinstance(problem, NoConnection | Busy) or not isinstance(problem, Unavailable)
        return self._asked_range and not self._transfer.opened and not self._transfer.plain and not away

    async def _pause(self, problem: Unavailable | RateLimited | OnHold, barren: int) -> None:
        """Wait before another round, or raise `problem` where that is no use.

        A short hold is waited for, since some clients have no other source for a blob whose manifest we served. Where
        nothing was answered at all, the upstream's own retries were enough and the client should go elsewhere.
        """
        match problem:
            case Unavailable() if self._transfer.opened:
                seconds = delay(barren, random.random())  # noqa: S311 - jitter
            case RateLimited(seconds=seconds) | OnHold(hold=Hold(seconds=seconds)) if (
                seconds <= self._around.limits.blob_headers / 2
            ):
                pass
            case _:
                raise problem
        await self._around.clock.sleep(seconds)

    async def _round(self) -> None:
        line, self._first_line = self._first_line, None
        line = line or await self._lines.first(self._around.limits.blob_headers)
        self._ungrown = None
        self._problems.clear()
        try:
            stream, segment = await self._open_first()
        except BaseException:
            self._lines.close()
            raise
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._first(stream, segment, group, line))
        except ExceptionGroup as problems:
            # The disk's before the upstream's, a refusal of ranges before others.
            raise most_telling(members(problems), StoreError, Abandoned, RangesRefused) from None
        finally:
            # Who was cancelled before it began has given nothing back.
            stream.close()
            self._lines.close()
        if self._problems and not self._map.complete:
            raise self._problems[0]

    async def _open_first(self) -> tuple[BlobStream, Segment]:
        """Open the round's first connection; the segment is what it brings (all, where ranges are not used)."""
        transfer = self._transfer
        small = (
            self._map.frontier == 0
            and transfer.size is not None
            and transfer.size <= self._around.settings.segmented_above
        )
        segment = None if transfer.plain or small else self._map.take()
        self._asked_range = segment is not None
        if segment is None:
            stream = await transfer.source.open(0, None, plain=True)
        else:
            try:
                stream = await transfer.source.open(segment.start, segment.stop)
            except BaseException:
                self._map.give_back(segment)
                raise
        self._learn_size(stream)
        transfer.opened = True
        transfer.changed()
        if segment is None or not stream.ranged:
            return stream, Segment(0, self._map.size)
        return stream, Segment(segment.start, min(segment.stop, self._map.size))

    def _learn_size(self, stream: BlobStream) -> None:
        transfer = self._transfer
        if stream.total is None:
            if stream.ranged:
                stream.close()
                raise RangesRefused("the upstream does not say how long the blob is")
            return
        if transfer.size is not None and transfer.size != stream.total:
            stream.close()
            raise Misbehaved("the upstream's blob has another length than its descriptor says")
        transfer.size = self._map.size = stream.total

    async def _first(self, stream: BlobStream, segment: Segment, group: asyncio.TaskGroup, line: Line) -> None:
        if stream.ranged:
            self._target = min(self._target, connections(self._map.size - self._map.frontier, self._around.settings))
            # More connections wait for the first bytes: making them takes longer than passing those on.
            self._ungrown = group
        await self._worker(stream, segment, group, line)

    def _grow(self, group: asyncio.TaskGroup) -> None:
        while len(self._lines) < self._target and not self._map.exhausted and (line := self._lines.more()):
            group.create_task(self._worker(None, self._map.take(), group, line))

    async def _worker(
        self, stream: BlobStream | None, segment: Segment | None, group: asyncio.TaskGroup, line: Line
    ) -> None:
        """Bring segments until none is left, a connection fails, or there are too many."""
        try:
            while segment is not None:
                await self._bring(stream, segment, line)
                stream = None
                if self._map.complete:
                    return
                await self._transfer.partial.checkpoint(self._map.frontier)
                if self._lines.crowded():
                    return
                segment = self._map.take()
                self._grow(group)
        except (Unavailable, RateLimited, OnHold) as problem:
            self._problems.append(problem)
        finally:
            self._lines.leave(line)

    async def _bring(self, stream: BlobStream | None, segment: Segment, line: Line) -> None:
        """Write what one connection brings; what it does not is given back."""
        at, whole = segment.start, stream is not None and not stream.ranged
        try:
            if stream is None:
                stream = await self._transfer.source.open(segment.start, segment.stop)
                if not stream.ranged:
                    raise RangesRefused("the upstream honours only some ranges")
            while data := await stream.read():
                self._lines.brought(line, len(data))
                await self._write(at, data)
                at += len(data)
        finally:
            if stream is not None:
                stream.close()
            if not whole:
                self._map.give_back(Segment(at, segment.stop))
        if segment.stop == UNSIZED:
            self._map.size = at

    async def _write(self, at: int, data: bytes) -> None:
        self.received += len(data)
        self._counters.fetched(len(data))
        if give_up(self._map.frontier, self._transfer.size, self._transfer.idle(), self._around.limits.abandoned):
            raise Abandoned("nobody wants the blob any more")
        skip = max(0, self._map.frontier - at)
        if skip >= len(data):
            return
        if not at and not self._map.frontier:
            # No other connection is there yet that could fail meanwhile: they are written, or the transfer is over.
            self._transfer.arrives(data)
            await asyncio.sleep(0)  # whoever waits for them goes first
        await self._transfer.partial.write(at + skip, memoryview(data)[skip:])
        self._gained += len(data) - skip
        self._advanced()
        if self._map.wrote(at + skip, at + len(data)):
            self._transfer.reaches(self._map.frontier)
        group, self._ungrown = self._ungrown, None
        if group is not None:
            self._grow(group)

    async def _verify(self) -> bool | StoreError:
        """Hash along the frontier; tells, when all bytes are there, whether they have the digest."""
        transfer, hasher = self._transfer, new_hash(self._transfer.digest.algorithm)
        loop = asyncio.get_running_loop()
        done = 0
        while not (self._map.complete and done >= self._map.size):
            if done >= transfer.frontier:
                if self._over:
                    return False
                await transfer.moved(done)
                continue
            stop = min(transfer.frontier, done + HASH_PIECE)
            try:
                await loop.run_in_executor(self._around.threads, hash_run, hasher, transfer.partial, done, stop)
            except OSError as problem:
                return StoreError(f"the partial cannot be read back: {problem.strerror}")
            done = stop
            self._advanced()
        return hasher.hexdigest() == transfer.digest.hex

    async def _conclude(self, right: bool | StoreError) -> None:  # noqa: FBT001 - the verifier's verdict
        if isinstance(right, StoreError):
            raise right
        self._transfer.size = self._map.size
        if not right:
            self._counters.corrupt += 1
            raise Misbehaved("the upstream's blob does not have the digest that it should have")
        self._transfer.confirm()
        await self._around.content.adopt(self._transfer.partial, self._transfer.digest, self._transfer.frontier)

    async def _failed(self, problem: Exception) -> None:
        self._counters.fills_failed += 1
        if not isinstance(problem, Misbehaved | StoreError):
            await self._keep(problem)
            return
        if self._transfer.has_file:
            with suppress(StoreError):  # what stays is hashed again before it is believed
                await self._transfer.partial.discard()
        self._transfer.fail(problem)

    async def _keep(self, problem: Exception) -> None:
        if self._transfer.has_file:
            with suppress(StoreError):
                await self._transfer.partial.checkpoint(self._transfer.frontier, durable=True)
        # Only now: the next transfer takes up the file where the checkpoint says, while followers of this one read it.
        self._transfer.fail(problem)
