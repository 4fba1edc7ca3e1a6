"""One client's view of a transfer: it waits within limits, and goes on alone when the disk or distance demands it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import TYPE_CHECKING, Self, TypeVar

from obol.registry.store.ports import StoreError
from obol.registry.transfers.relay import Check, relay
from obol.registry.transfers.transfer import Transfer, TransferFailed
from obol.registry.upstream.ports import Unavailable, UpstreamError

if TYPE_CHECKING:
    from obol.registry.store.ports import Run

WORTH_SENDING = 1024 * 1024
GATHER_EACH = 0.001
GATHER_AT_MOST = 0.015
"""Seconds for which a follower lets bytes gather when there are fewer, for each follower of the blob and in all: a herd
must not wake up for every packet, and one client alone must not wait."""

FAR_AHEAD = 64 * 1024 * 1024
"""A part that begins this far beyond the frontier is fetched directly rather than waited for."""
MOST_DIRECT = 48
"""Parts that are fetched directly at a time: each has up to a mebibyte in memory for a client that reads slowly."""

T = TypeVar("T")


class Follower:
    """A blob that is on its way, as one client reads it. A context manager: the transfer counts its followers."""

    def __init__(self, transfer: Transfer, *, joined: bool) -> None:
        self.digest = transfer.digest
        self.joined = joined
        """Another client had started the transfer."""
        self._transfer = transfer
        self._found = transfer.frontier
        self._environment = transfer.environment
        self._direct = False
        """A part is being fetched directly."""

    @property
    def size(self) -> int | None:
        """Bytes of the blob, known once `opened` returned, unless the upstream does not tell."""
        return self._transfer.size

    @property
    def held(self) -> int:
        """Bytes that were there when this client came, from an earlier transfer or this one; known as `size` is."""
        return max(self._found, self._transfer.held)

    def __enter__(self) -> Self:
        self._transfer.follow()
        return self

    def __exit__(self, *_: object) -> None:
        self._environment.direct.discard(self)
        self._transfer.leave()

    async def begun(self) -> None:
        """Wait for the upstream's first answer. Raises TransferFailed, also when it takes too long."""
        limit = self._environment.limits.blob_headers
        await _in_time(self._transfer.begun(), limit, "the upstream did not answer in time")

    async def opened(self, start: int) -> None:
        """Wait until byte `start` can be sent, or all is verified. Raises TransferFailed when that will not be."""
        try:
            await self.begun()
            if self._far(start):
                self._direct = True
                self._environment.direct.add(self)
                return
            limit = self._environment.limits.blob_headers
            await _in_time(self._transfer.grown(start), limit, "the upstream brings nothing")
        except TransferFailed as failed:
            if not isinstance(failed.cause, StoreError) or self.size is None:
                raise

    async def runs(self, start: int, stop: int | None) -> AsyncGenerator[Run, None]:
        """The bytes from `start` to `stop` (None: to the end, wherever it is), as they come. Raises TransferFailed."""
        at, transfer = start, self._transfer
        if stop is not None and self._far(start):
            async for data in self._relay(at, stop, None):
                yield data
            return
        while stop is None or at < stop:
            try:
                limit = self._environment.limits.follower_gap
                shown = await _in_time(transfer.grown(at), limit, "the upstream brings nothing any more")
            except TransferFailed as failed:
                if not isinstance(failed.cause, StoreError) or stop is None:
                    raise
                async for data in self._relay(at, stop, await self._check(start, at, stop)):
                    yield data
                return
            if start < at and not transfer.verified and shown - at < WORTH_SENDING:
                # Let a few bytes become more.
                await self._environment.clock.sleep(min(GATHER_EACH * transfer.followers, GATHER_AT_MOST))
                shown = transfer.shown
            end = shown if stop is None else min(shown, stop)
            if end > at:
                from_file = end <= transfer.frontier
                yield transfer.partial.run(at, end) if from_file else transfer.early[at:end]
                at = end
            if transfer.verified and at >= transfer.frontier:
                return

    def _far(self, start: int) -> bool:
        transfer = self._transfer
        if transfer.verified or transfer.plain or start - transfer.frontier <= FAR_AHEAD:
            return False
        return self._direct or len(self._environment.direct) < MOST_DIRECT

    async def _check(self, start: int, at: int, stop: int) -> Check | None:
        transfer = self._transfer
        if start != 0 or stop != transfer.size:
            return None
        check = Check(self.digest, self._environment.settings.withhold)
        if at > transfer.frontier:
            check.hasher.update(transfer.early[:at])
        elif at:
            await transfer.hash(check.hasher, 0, at)
        return check

    async def _relay(self, start: int, stop: int, check: Check | None) -> AsyncGenerator[bytes, None]:
        origin = self._transfer.origin
        try:
            await origin.slots.first(self._environment.limits.blob_headers)
        except UpstreamError as problem:
            raise TransferFailed(problem) from problem
        try:
            async for data in relay(origin.source, start, stop, check):
                origin.counts.received += len(data)
                # A client that reads slowly must not keep others from being fetched for.
                lent = origin.slots.lend()
                try:
                    yield data
                finally:
                    if lent:
                        origin.slots.reclaim()
        finally:
            origin.slots.release()


async def _in_time(waiting: Awaitable[T], seconds: float, otherwise: str) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except TimeoutError:
        raise TransferFailed(Unavailable(otherwise)) from None
