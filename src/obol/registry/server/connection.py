"""One client's connection: what it may cost before it has asked for anything, and requests that only repeat.

On top of aiohttp's connection, the length of a head, the time in which it comes, and what is read on while an answer is
made are limited. A wish for another protocol is passed over. What is no HTTP gets one last answer of ours, and nothing
that a client sent gets into the log.

A request that was answered a moment ago, byte for byte, is answered again unparsed: what the same bytes mean does not
change, so they are only looked up. All others go to aiohttp, and then to the handler, which finds a ready answer by
what they mean.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from obol.oci.errors import HEAD_TOO_LARGE, INTERNAL, REQUEST_INVALID, REQUEST_TIMEOUT, ErrorKind, OciError
from obol.registry.server.exchange import PIECE, Rendered, refusal_headers
from obol.registry.server.ready import Keys

if TYPE_CHECKING:
    from obol.registry.server.exchange import Shared
    from obol.registry.server.listeners import Door

END = b"\r\n\r\n"
RECEIVED = 16 * 1024
"""Bytes that are read from a client at once. asyncio has 256 KiB, memory that comes from the system each time."""
LONGEST_HEAD = 16 * 1024
"""Bytes of a head that is still to end; with those that end it, at most RECEIVED more."""
MOST_LINES = 64
LONGEST_LINE = 8190
LINGER = 1.0
"""Seconds in which a client that was refused may still send: closing over unread bytes would take the answer back."""

_UPGRADE = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_BEGUN = re.compile(rb"\r(?:\n(?:u(?:p(?:g(?:r(?:a(?:de?)?)?)?)?)?)?)?\Z", re.IGNORECASE)
"""The same, as far as it has come."""
_SILENT = logging.getLogger("obol.http")
"""All that aiohttp says of a request has bytes of it."""
_SILENT.disabled = True

LOOKED_AT = ("Range", "If-None-Match")
"""A part, or that nothing has changed, is found out each time."""
SECRETS = ("Authorization", "Proxy-Authorization", "Cookie")
"""They change no answer, and are not ours to keep."""

Repeat = Callable[[bytes, int, asyncio.BaseTransport], bytes | None]
"""From the bytes of a request to those of its answer, if it is known and no longer than so many bytes; else None."""


class Connections(web.Server):
    """What is asked for a protocol for each connection that is accepted."""

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        repeat: Repeat,
        shared: Shared,
        door: Door,
    ) -> None:
        # An answer ends with its client; what goes on without one does so in work of its own.
        super().__init__(handle, handler_cancellation=True)
        self.repeat = repeat
        self.shared = shared
        self.door = door

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self)

    @property
    def open(self) -> list[Connection]:
        """All that there are now."""
        return [one for one in self._connections if isinstance(one, Connection)]


class Connection(web.RequestHandler):
    """aiohttp's, with limits in all beside its limit for each line, and left aside while a client only repeats."""

    __slots__ = (
        "_begun_field",
        "_between",
        "_handed_over",
        "_held_back",
        "_late",
        "_now",
        "_parting",
        "_patience",
        "_repeat",
        "_shared",
        "_unfinished",
        "_unsure",
        "asked",
        "begun",
        "door",
        "heard",
    )

    def __init__(self, server: Connections) -> None:
        shared = server.shared
        no_log = cast("logging.Logger", None)  # aiohttp takes it, its types do not
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=shared.limits.keepalive,
            lingering_time=shared.limits.request,
            access_log=no_log,
            logger=_SILENT,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_LINES,
        )
        self._shared = shared
        self._repeat = server.repeat
        self.door = server.door
        self.begun = False
        """The head of the answer under way has been written."""
        self._unfinished = 0
        """Bytes of a head whose end has not come."""
        self._begun_field = b""
        """The last of them, where they may be the beginning of a wish for another protocol."""
        self._unsure = False
        """A head may have begun behind a request."""
        self._late: asyncio.TimerHandle | None = None
        self._held_back = False
        """Nothing is read, because more was sent than the one request that is being answered."""
        self._parting: asyncio.Event | None = None
        """There once the last answer was given and what still comes is thrown away; set when the client has gone."""
        self._between = True
        """All that was asked is answered, and what comes next begins with a request."""
        self.asked: bytes | None = None
        """The bytes of the one request under way; None if it came in pieces or has company."""
        # aiohttp closes what is idle; it must hear of a request now and then.
        self._patience = shared.limits.keepalive / 2
        self._now = asyncio.get_running_loop().time
        self._handed_over = self.heard = self._now()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio calls this."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = RECEIVED

    def connection_lost(self, exc: BaseException | None) -> None:
        """End; asyncio calls this."""
        self._in_time()
        if self._parting is not None:
            self._parting.set()
        super().connection_lost(exc)
        # asyncio gives the descriptor back after this call.
        self._loop.call_soon(self.door.left)

    def data_received(self, data: bytes) -> None:
        """Take what came; asyncio calls this, and aiohttp, with nothing, to go on with what it has put aside."""
        self.asked = None
        self.heard = self._now()
        if self._between and 0 <= data.find(END) == len(data) - len(END):
            if self._repeated(data):
                return
            self.asked = data
        self._between = False
        self._handed_over = self.heard
        if not data:
            super().data_received(data)
        elif self._parting is None:
            self._feed(data)

    def _repeated(self, data: bytes) -> bool:
        transport = self.transport
        if transport is None or self.heard - self._handed_over >= self._patience:
            return False
        # A client that reads too little is waited for, and let go, where answers are made.
        if transport.get_write_buffer_size():
            return False
        answer = self._repeat(data, PIECE, transport)
        if answer is None:
            return False
        transport.write(answer)
        return True

    def _feed(self, data: bytes) -> None:
        """Give aiohttp what came, and see to it that there is not too much, or too little for too long."""
        answering = self.busy
        count = self._request_count
        came, data = len(data), self._begun_field + data
        self._begun_field = b""
        if not answering and self._waiting and END not in data and (begun := _BEGUN.search(data)):
            data, self._begun_field = data[: begun.start()], begun[0]
        # What stands behind a head that asks for another protocol is lost in aiohttp's parser. We never change the
        # protocol, and may pass over the wish (RFC 9110, section 7.8); in a body, of which we have no use, it is none.
        if data:
            super().data_received(_UPGRADE.sub(b"\r\nx-grade", data) if b"pgrade:" in data.lower() else data)
        if self._request_count != count:
            self._in_time()
            self._unfinished, self._unsure = 0, not data.endswith(END)
        elif not answering and self._waiting:
            self._unfinished += came
            self._wait_for_the_rest()
        if answering and not self._held_back and self.transport is not None:
            self._held_back = True
            self.transport.pause_reading()

    def _wait_for_the_rest(self) -> None:
        if self._unfinished > LONGEST_HEAD:
            self._part(HEAD_TOO_LARGE)
        elif self._late is None:
            self._late = self._loop.call_later(self._shared.limits.request, self._give_up)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self._waiting:
            return
        if self._unfinished:
            self._part(REQUEST_TIMEOUT)
        elif self.transport is not None:
            self.transport.close()

    def _part(self, kind: ErrorKind, *, head: bool = False) -> web.StreamResponse:
        """Give a last answer, and let the client go when it has had the time to read it. `head`: without a body."""
        self._in_time()
        if self.transport is not None and self._parting is None:
            self._parting = asyncio.Event()
            if kind is not INTERNAL:
                self._shared.seldom.warning("bad requests")
            refusal = OciError(kind)
            body = refusal.body()
            rendered = Rendered(kind.status, refusal_headers(refusal, len(body)))
            answer = self._shared.head(rendered, b"Connection: close\r\n")
            self.transport.write(answer if head else answer + body)
            if self.transport.can_write_eof():
                with suppress(OSError):  # it may have gone
                    self.transport.write_eof()
            self._loop.call_later(LINGER, self.transport.abort)
        return cast("web.StreamResponse", Parted(self._parting))

    @property
    def _waiting(self) -> bool:
        """Nothing is asked that is not answered."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def busy(self) -> bool:
        """A request is being answered, or waits for that."""
        return self._request_in_progress or bool(self._messages)

    def force_close(self) -> None:
        """Close it, also where the client does not take what it was sent."""
        transport = self.transport
        super().force_close()
        if transport is not None and transport.get_write_buffer_size():
            self._loop.call_later(LINGER, transport.abort)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Have a response written, also that of an error; aiohttp calls this."""
        resp, reset = await super().finish_response(request, resp, start_time)
        self.begun = False
        if request.version < (1, 1) and "Transfer-Encoding" in request.headers:
            # HTTP/1.0 has no chunks: what follows may be a part of the body (RFC 9112, section 6.1).
            self.close()
        if self._unsure:
            self._wait_for_the_rest()
        if self._held_back and not self._messages:
            self._held_back = False
            if self.transport is not None and not (self._reading_paused or self._buffer_paused):
                self.transport.resume_reading()
        alone, self.asked = self.asked is not None, None
        self._between = alone and repeatable(request) and bool(resp.keep_alive) and not reset
        return resp, reset

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is not HTTP, or what the handler did not expect; aiohttp calls this."""
        del message, status  # they may have bytes of the request
        if isinstance(exc, HttpProcessingError):
            return self._part(HEAD_TOO_LARGE if isinstance(exc, LineTooLong) else REQUEST_INVALID)
        if exc is not None:
            self._shared.seldom.failure("request failed", exc)
        if self.begun:
            raise ConnectionResetError("the answer had begun")
        return self._part(INTERNAL, head=request.method == "HEAD")

    def log_exception(self, *args: object, **kwargs: object) -> None:
        """Log what went through everything else; aiohttp calls this."""
        del args
        problem = kwargs.get("exc_info")
        if isinstance(problem, HttpProcessingError | web.RequestPayloadError):
            self._shared.seldom.warning("bad requests")
        elif isinstance(problem, BaseException):
            self._shared.seldom.failure("connection failed", problem)


class Parted:
    """The last answer has been written, and aiohttp is not to close before the client has had the time to read it."""

    keep_alive = False

    def __init__(self, gone: asyncio.Event | None) -> None:
        self._gone = gone

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Nothing is left to write; aiohttp calls this."""

    async def write_eof(self) -> None:
        """Wait until the client has gone, or was made to; aiohttp calls this."""
        if self._gone is not None:
            await self._gone.wait()


def repeatable(request: web.BaseRequest) -> bool:
    """Whether nothing but another request can follow this one."""
    return request.method in {"GET", "HEAD"} and not request.body_exists and "Upgrade" not in request.headers


def keys_of(request: web.BaseRequest) -> Keys | None:
    """What the answer to a request may be kept under; None for one that has to be looked at each time."""
    headers = request.headers
    if request.method not in {"GET", "HEAD"} or any(name in headers for name in LOOKED_AT):
        return None
    accept = headers.getall("Accept", None)
    meaning = request.method, request.raw_path, headers.get("Host"), None if accept is None else ",".join(accept)
    if request.version < (1, 1) or not request.keep_alive or not repeatable(request):
        return Keys(meaning, None)
    secret = any(name in headers for name in SECRETS)
    return Keys(meaning, None if secret else cast("Connection", request.protocol).asked)
