"""One client's view of a transfer: it waits within limits, and goes on alone when the disk or distance demands it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from obol.oci.errors import BLOB_UNKNOWN, UPSTREAM_BROKEN, OciError
from obol.registry.engine.answers import CutShort
from obol.registry.engine.refusals import refusal
from obol.registry.store.ports import StoreError
from obol.registry.transfers.relay import Check, relay
from obol.registry.transfers.transfer import Transfer, TransferFailed
from obol.registry.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from obol.oci.references import Digest
    from obol.registry.engine.scopes import Scope
    from obol.registry.store.ports import Run
    from obol.registry.transfers.download import Surroundings

WORTH_SENDING = 1024 * 1024
GATHER_EACH = 0.001
GATHER_AT_MOST = 0.015
"""Seconds for which a follower lets bytes gather when there are fewer, for each follower of the blob and in all: a herd
must not wake up for every packet, and one client alone must not wait."""

FAR_AHEAD = 64 * 1024 * 1024
"""A part that begins this far beyond the frontier is fetched directly rather than waited for."""
MOST_DIRECT = 48
"""Parts that are fetched directly at a time: each has up to a mebibyte in memory for a client that reads slowly."""


class Follower:
    """A blob that is on its way, as one client reads it. A context manager: it counts who follows."""

    def __init__(self, transfer: Transfer, around: Surroundings, scope: Scope, *, joined: bool) -> None:
        self.digest: Digest = transfer.digest
        self.joined = joined
        self._transfer = transfer
        self._found = transfer.frontier
        self._around = around
        self._counters = scope.counters
        self._slots = scope.upstream.slots
        self._following = ExitStack()
        self._direct = False
        """A part is being fetched directly."""

    @property
    def size(self) -> int | None:
        """Bytes of the blob, or None while the upstream has not told."""
        return self._transfer.size

    @property
    def held(self) -> int:
        """Bytes that were there when this client came, from an earlier transfer or from this one."""
        return max(self._found, self._transfer.held)

    def __enter__(self) -> Self:
        """Begin to follow."""
        self._following.enter_context(self._transfer.followed())
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following."""
        self._around.direct.discard(self)
        self._following.close()

    async def begun(self) -> None:
        """Wait for the upstream's first answer. Raises TransferFailed, or OciError when it takes too long."""
        try:
            async with asyncio.timeout(self._around.limits.blob_headers):
                await self._transfer.begun()
        except TimeoutError:
            raise OciError(UPSTREAM_BROKEN, "the upstream did not answer in time") from None

    async def opened(self, start: int) -> None:
        """Wait until byte `start` can be sent. Raises OciError when that will not be."""
        try:
            await self.begun()
            if self._far(start):
                self._direct = True
                self._around.direct.add(self)
                return
            async with asyncio.timeout(self._around.limits.blob_headers):
                await self._transfer.grown(start)
        except TransferFailed as failed:
            if isinstance(failed.cause, StoreError) and self._transfer.size is not None:
                return
            raise refusal(failed.cause, BLOB_UNKNOWN) from failed.cause
        except TimeoutError:
            raise OciError(UPSTREAM_BROKEN, "the upstream brings nothing") from None

    def _far(self, start: int) -> bool:
        transfer = self._transfer
        if transfer.verified or transfer.plain or start - transfer.frontier <= FAR_AHEAD:
            return False
        return self._direct or len(self._around.direct) < MOST_DIRECT

    async def runs(self, start: int, stop: int | None) -> AsyncGenerator[Run, None]:
        """The bytes from `start` to `stop` (None: to the end, wherever that is). Raises CutShort."""
        at = start
        if stop is not None and self._far(start):
            async for data in self._relay(at, stop, None):
                yield data
            return
        while stop is None or at < stop:
            try:
                shown = await self._grown(at)
            except TransferFailed as failed:
                if not isinstance(failed.cause, StoreError) or stop is None:
                    raise CutShort(str(failed)) from failed
                async for data in self._relay(at, stop, await self._check(start, at, stop)):
                    yield data
                return
            if start < at:
                shown = await self._gathered(at, shown)
            end = shown if stop is None else min(shown, stop)
            if end > at:
                yield self._run(at, end)
                at = end
            if self._transfer.verified and at >= self._transfer.frontier:
                return

    async def _grown(self, beyond: int) -> int:
        try:
            async with asyncio.timeout(self._around.limits.follower_gap):
                return await self._transfer.grown(beyond)
        except TimeoutError:
            raise CutShort("the upstream brings nothing any more") from None

    async def _gathered(self, at: int, shown: int) -> int:
        """Let a few bytes become more."""
        if self._transfer.verified or shown - at >= WORTH_SENDING:
            return shown
        await self._around.clock.sleep(min(GATHER_EACH * self._transfer.followers, GATHER_AT_MOST))
        return self._transfer.shown

    def _run(self, at: int, end: int) -> Run:
        if end <= self._transfer.frontier:
            return self._transfer.partial.run(at, end)
        return self._transfer.early[at:end]

    async def _check(self, start: int, at: int, stop: int) -> Check | None:
        if start != 0 or stop != self._transfer.size:
            return None
        check = Check(self.digest, self._around.settings.withhold)
        if at > self._transfer.frontier:
            check.given(self._transfer.early[:at])
        elif at:
            await check.resume(self._transfer.partial, at, self._around.threads)
        return check

    async def _relay(self, start: int, stop: int, check: Check | None) -> AsyncGenerator[bytes, None]:
        try:
            await self._slots.first(self._around.limits.blob_headers)
        except UpstreamError as problem:
            raise CutShort(str(problem)) from problem
        try:
            async for data in relay(self._transfer.source, start, stop, check):
                self._counters.fetched(len(data))
                # A client that reads slowly must not keep others from being fetched for.
                lent = self._slots.lend()
                try:
                    yield data
                finally:
                    if lent:
                        self._slots.reclaim()
        finally:
            self._slots.release()
