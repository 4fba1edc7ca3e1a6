"""One blob at its upstream: where its bytes are to be had.

A registry usually answers a blob with a redirect to a presigned URL. It is asked once, and the other segments go to
where it pointed; when that URL is refused (it expired) the registry is asked again, once for all segments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from obol.registry.policy.statuses import Question
from obol.registry.upstream.ports import Busy, Denied, RangesRefused, RateLimited, Unavailable
from obol.registry.upstream.reading import drain, judge
from obol.registry.upstream.streams import BlobRange, RegistryStream, Trickle, body_of
from obol.registry.upstream.transport import Arrived, Transport

if TYPE_CHECKING:
    import aiohttp

    from obol.machine.clock import Clock
    from obol.registry.settings import TimeLimits

REFUSED_LINK = frozenset({400, 401, 403, 404, 410})
"""What object stores answer to a presigned URL that expired."""
MAX_REFRESHES = 4

AskRegistry = Callable[[Mapping[str, str]], Awaitable[Arrived]]


class RegistryBlob:
    """A blob of one repository; `size` as its descriptor says, if one is known."""

    def __init__(
        self, ask_registry: AskRegistry, transport: Transport, clock: Clock, limits: TimeLimits, size: int | None
    ) -> None:
        self._ask_registry = ask_registry
        self._transport = transport
        self._clock = clock
        self._limits = limits
        self._size = size
        self._direct: str | None = None
        self._redirects = True
        self._refreshes = 0
        self._ranges = False
        """A range was honoured."""
        self._refreshing = asyncio.Lock()

    async def open(self, start: int, stop: int | None, *, plain: bool = False) -> RegistryStream:
        """See `BlobSource.open`."""
        wanted = BlobRange(start, stop, plain)
        ranged = bool(wanted.headers())
        try:
            response = await self._answer(wanted.headers())
        except Denied as problem:
            if not ranged:
                raise
            raise RangesRefused("the upstream refuses the range") from problem
        # Where ranges were honoured before, a failure of the server's is one; any other refusal may be of this range.
        phase = Question.RANGE if ranged and (response.status < 500 or not self._ranges) else Question.BLOB
        try:
            await judge(response, phase, self._clock.wall())
        except RateLimited as limited:
            if self._transport.is_own(str(response.url)):
                raise
            if self._ranges and "Retry-After" not in response.headers:
                raise Unavailable("the upstream wants fewer connections at a time (429)") from limited
            # It is the store's limit, for what is there: the registry may be asked as ever.
            raise Busy(limited.seconds, 429) from limited
        try:
            body = body_of(response, wanted, self._size)
        except BaseException:
            response.close()
            raise
        self._ranges = self._ranges or body.ranged
        trickle = Trickle(self._clock, self._limits.trickle_window, self._limits.trickle_bytes)
        return RegistryStream(response, body, trickle, self._progressed, self._limits.idle)

    async def _answer(self, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        if not headers and not self._ranges:
            # Where a range was led to may be a place for ranges only: that they are refused there, or a page.
            return await self._new_link(headers)
        refused: str | None = None
        while self._redirects:
            direct = self._direct
            if direct is not None and direct != refused:
                arrived = await self._transport.send("GET", direct, headers, None)
                if arrived.response.status not in REFUSED_LINK:
                    return arrived.response
                await drain(arrived.response)
                refused = direct
            async with self._refreshing:
                if self._direct == refused and self._redirects:
                    self._count_refresh(refused)
                    return await self._new_link(headers)
        return (await self._ask_registry(headers)).response

    async def _new_link(self, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Ask the registry. One that sends the blob itself wants its token each time, so its own URL is no link."""
        arrived = await self._ask_registry(headers)
        if arrived.moved:
            self._direct = arrived.url
        elif arrived.response.status in {200, 206}:
            self._redirects = False
        return arrived.response

    def _count_refresh(self, refused: str | None) -> None:
        if refused is None:
            return
        self._refreshes += 1
        if self._refreshes > MAX_REFRESHES:
            raise Unavailable("the upstream's links expire faster than they can be used")

    def _progressed(self) -> None:
        """Bytes came through the present link: an expiry later on is a new one."""
        self._refreshes = 0
