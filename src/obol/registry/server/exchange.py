"""An exchange: one request and its response, which is counted once, at its end.

aiohttp's own response classes build their headers anew for every answer. Ours are rendered once, so that the same
answer given again costs one write, and an exchange writes its response itself. What the protocol loop of aiohttp needs
of a response is `prepare`, `write_eof` and `keep_alive`; an exchange has them, and all has been written by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeVar, cast

from obol.oci.errors import UNAVAILABLE, UNSUPPORTED, OciError
from obol.registry.control.api import PROBLEM_HEADER
from obol.registry.engine.accounts import Ends
from obol.registry.server.budget import OverBudget
from obol.registry.server.outlet import Outlet
from obol.registry.store.ports import FileRun
from obol.registry.transfers.transfer import TransferFailed

if TYPE_CHECKING:
    from aiohttp import web

    from obol.machine.clock import Clock
    from obol.machine.logs import Seldom
    from obol.oci.references import Digest
    from obol.registry.control.api import Source
    from obol.registry.engine.accounts import Accounts, AnswerMeter
    from obol.registry.engine.scopes import Scope
    from obol.registry.server.budget import Budget, KeptAnswer
    from obol.registry.server.connection import Connection
    from obol.registry.server.hosts import Hosts
    from obol.registry.server.ready import Keys
    from obol.registry.settings import TimeLimits
    from obol.registry.store.ports import Run

Header = tuple[str, str]

API_VERSION: Header = ("Docker-Distribution-API-Version", "registry/2.0")
NO_SNIFF: Header = ("X-Content-Type-Options", "nosniff")
IMMUTABLE: Header = ("Cache-Control", "public, max-age=31536000, immutable")
ASK_AGAIN: Header = ("Cache-Control", "no-cache")
PIECE = 64 * 1024
"""Bytes of an answer in memory that a connection is given at once; the next ones when it has sent them."""
LONGEST_WRITE = 60.0
"""Seconds in which a client must take a piece."""

T = TypeVar("T", bytes, int)

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


class Rendered:
    """A status line and headers but for Date and Connection, ready to be written again and again."""

    __slots__ = ("after", "before")

    def __init__(self, status: int, headers: Iterable[Header]) -> None:
        self.before = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\nDate: ".encode("ascii")
        lines = [f"\r\n{name}: {value}" for name, value in (*headers, API_VERSION, NO_SNIFF)]
        self.after = "".join([*lines, "\r\n"]).encode("latin-1")


@dataclass(slots=True)
class Shared:
    """What all ports of one engine have in common.

    Our names, the memory for answers, what the log says of clients, time and its limits, and the most connections.
    """

    hosts: Hosts
    budget: Budget
    seldom: Seldom
    clock: Clock
    limits: TimeLimits
    connections: int
    _second: int = -1
    _date: bytes = b""
    """The value of the Date header in that second."""

    def head(self, rendered: Rendered, connection: bytes = b"") -> bytes:
        """All of a head that is sent now, with the empty line. `connection`: a line of its own, if one is needed."""
        second = int(self.clock.wall())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode("ascii")
        return b"".join((rendered.before, self._date, rendered.after, connection, b"\r\n"))


class Exchange:
    """One request, and what is sent for it."""

    __slots__ = (
        "_accounts",
        "_begun",
        "_meter",
        "_refused",
        "_sent",
        "_shared",
        "_source",
        "_start",
        "keep_alive",
        "keys",
        "namespace",
        "request",
        "scope",
        "since",
    )

    def __init__(
        self, request: web.BaseRequest, keys: Keys | None, scope: Scope, accounts: Accounts, shared: Shared
    ) -> None:
        self.request = request
        self.keys = keys
        """What the answer may be kept under, None for one that may not be."""
        self.scope = scope
        self.since = 0
        """How often ready answers had been forgotten before the engine was asked."""
        self.namespace: tuple[Header, ...] = ()
        """Says which registry the client named, where it did."""
        self.keep_alive = bool(request.keep_alive)
        self._accounts = accounts
        self._shared = shared
        self._source: Source | None = None
        self._refused = False
        self._meter: AnswerMeter | None = None
        self._start = 0
        self._sent = 0
        self._begun = False

    def serves(self, source: Source, digest: Digest | None = None, start: int = 0) -> None:
        """Say where the body comes from; with `digest`, that it is content, from byte `start` on."""
        self._source = source
        if digest is not None and self._accounts.running:
            self._meter = meter_of(self._accounts, self.request.transport, self.scope.registry, digest)
            self._start = start

    async def whole(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """Answer with something whose length is not among its headers. Raises as `reply`."""
        await self.reply(Rendered(status, (*headers, ("Content-Length", str(len(body))))), body)

    async def reply(self, rendered: Rendered, body: bytes = b"") -> None:
        """Answer with bytes in memory, without them where the client asked for the head.

        A small answer is a single write. Of a large body each client's connection is given a piece at a time, so that
        the body itself is all that is in memory, however many read it. Raises OciError, ConnectionResetError.
        """
        if self.request.method == "HEAD":
            body = b""
        budget = self._shared.budget
        if len(body) > PIECE:
            body = budget.shared(body)
            if not budget.admits(body):
                raise OciError(UNAVAILABLE, "too many clients read large answers slowly", retry_after=1)
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        if len(body) > PIECE:
            with _kept(budget, budget.keep, body, transport) as kept:
                transport.write(self._head(rendered))
                while self._sent < len(body):
                    if transport.is_closing():
                        raise ConnectionResetError("the client was let go")
                    piece = memoryview(body)[self._sent : self._sent + PIECE]
                    transport.write(piece)
                    self._sent += len(piece)
                    if transport.get_write_buffer_size():
                        await drained(self.request, LONGEST_WRITE)
                    budget.moved(kept)
            return
        transport.write(self._head(rendered) + body)
        self._sent = len(body)
        # Not the length of this answer alone: a client may ask for many small ones and read none.
        if unsent := transport.get_write_buffer_size():
            with _kept(budget, budget.keep_unsent, unsent, transport):
                await drained(self.request, LONGEST_WRITE)

    async def send(self, rendered: Rendered, body: Run | AsyncGenerator[Run, None], *, chunked: bool = False) -> None:
        """Answer with what is stored, or with what is on its way: its connection is closed where the rest fails.

        Raises ConnectionResetError.
        """
        outlet = Outlet(self.request, self._shared.limits.send_stall)
        outlet.transport.write(self._head(rendered))
        try:
            if isinstance(body, FileRun | bytes):
                await outlet.file(body)
            else:
                await outlet.all(body, chunked=chunked)
        except (TransferFailed, OSError):
            # With FIN, so that the client sees that bytes are missing.
            self.keep_alive = False
            outlet.transport.abort()
        finally:
            self._sent = outlet.count

    async def refuse(self, refusal: OciError, *headers: Header) -> None:
        """Answer with an error. Raises ConnectionResetError, also where another answer has begun."""
        if self._begun:
            raise ConnectionResetError("an answer had begun")
        self._refused = True
        if refusal.kind.status >= 500:
            # What was asked for is not told: no byte of a request goes into a log.
            why = refusal.detail or refusal.kind.code
            self._shared.seldom.warning("refused", registry=self.scope.registry, status=refusal.kind.status, why=why)
        body = refusal.body()
        await self.reply(Rendered(refusal.kind.status, (*refusal_headers(refusal, len(body)), *headers)), body)

    def failed(self) -> None:
        """Something of ours failed: aiohttp has an answer written for it, if none has begun."""
        self._refused = self._refused or not self._begun
        self._begun = True

    def end(self) -> None:
        """Count what was answered; a client that left before it was answered has no answer."""
        if not self._begun:
            return
        if self._refused:
            self.scope.counters.refused()
        elif self._source is not None:
            self.scope.counters.served(self._source, self._sent)
            if self._meter is not None:
                self._meter.sent(self._start, self._sent)

    def _head(self, rendered: Rendered) -> bytes:
        """A head that is sent now, with the Connection line that this client needs: most need none."""
        request = self.request
        self._begun = cast("Connection", request.protocol).begun = True
        line = b""
        if request.version < (1, 1) and request.keep_alive:
            line = b"Connection: keep-alive\r\n"
        elif not request.keep_alive:
            line = b"Connection: close\r\n"
        return self._shared.head(rendered, line)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to write; aiohttp calls this."""
        if request.transport is None:
            raise ConnectionResetError("the client went away")

    async def write_eof(self) -> None:
        """There is nothing after the body; aiohttp calls this."""


def meter_of(
    accounts: Accounts, transport: asyncio.BaseTransport | None, registry: str, digest: Digest
) -> AnswerMeter | None:
    """The meter of an answer that begins now; None for what is no TCP connection."""
    if transport is None:
        return None
    own, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if not isinstance(own, tuple) or not isinstance(peer, tuple):
        return None
    return accounts.meter(Ends(str(own[0]), int(own[1]), str(peer[0])), registry, digest)


@contextlib.contextmanager
def _kept(
    budget: Budget, keep: Callable[[T, Callable[[], None]], KeptAnswer], what: T, transport: asyncio.Transport
) -> Iterator[KeptAnswer]:
    """Something is in memory for a client meanwhile. Raises ConnectionResetError where there is no room for it."""
    try:
        kept = keep(what, transport.abort)
    except OverBudget:
        transport.abort()
        raise ConnectionResetError("too much waits for clients that read slowly") from None
    try:
        yield kept
    finally:
        budget.release(kept)


async def drained(request: web.BaseRequest, seconds: float) -> None:
    """Wait until the client's side has taken all that was written, so that we keep none of it.

    Raises ConnectionResetError, also for a client that does not take it within `seconds` and is let go.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client went away")
    transport.set_write_buffer_limits(high=0)
    try:
        async with asyncio.timeout(seconds):
            await request.writer.drain()
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError("the client takes nothing any more") from None
    finally:
        transport.set_write_buffer_limits()
    if transport.is_closing():
        raise ConnectionResetError("the client was let go")


def content_headers(digest: Digest, media_type: str, size: int, *, immutable: bool) -> list[Header]:
    """What goes with a manifest or a blob, the same for HEAD and GET."""
    return [
        ("Content-Type", media_type),
        ("Content-Length", str(size)),
        ("Docker-Content-Digest", str(digest)),
        ("ETag", f'"{digest}"'),
        IMMUTABLE if immutable else ASK_AGAIN,
    ]


def refusal_headers(refusal: OciError, length: int) -> list[Header]:
    """What goes with an error body."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(length))]
    if refusal.retry_after is not None:
        headers.append(("Retry-After", str(refusal.retry_after)))
    if refusal.kind is UNSUPPORTED:
        headers.append(("Allow", "GET, HEAD"))
    if refusal.problem:
        headers.append((PROBLEM_HEADER, refusal.problem))
    return headers
