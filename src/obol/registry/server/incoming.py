"""What a client may cost before it has asked for anything, on top of aiohttp's connection.

The length of a head, the time in which it comes, and what is read on while an answer is made are limited. A wish for
another protocol is passed over. What is no HTTP gets one last answer of ours, and nothing that a client sent gets into
the log.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from obol.oci.errors import HEAD_TOO_LARGE, INTERNAL, REQUEST_INVALID, REQUEST_TIMEOUT, ErrorKind, OciError
from obol.registry.server.replies import Rendered, Reply, Sent, date, refusal_headers

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.machine.logs import Seldom
    from obol.registry.server.budget import Budget
    from obol.registry.server.hosts import Hosts
    from obol.registry.settings import TimeLimits

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
"""Whatever aiohttp says of a request has bytes of it."""
_SILENT.disabled = True


@dataclass(frozen=True, slots=True)
class Shared:
    """What all ports of one engine have in common.

    Our names, the memory for answers, what is told of clients, time and its limits, and the most connections.
    """

    hosts: Hosts
    budget: Budget
    seldom: Seldom
    clock: Clock
    limits: TimeLimits
    connections: int


class Incoming(web.RequestHandler):
    """aiohttp's, with limits in all beside its limit for each line."""

    __slots__ = ("_begun_field", "_held_back", "_late", "_parting", "_shared", "_unfinished", "_unsure", "begun")

    def __init__(self, server: web.Server, shared: Shared) -> None:
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """What asyncio calls."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = RECEIVED

    def connection_lost(self, exc: BaseException | None) -> None:
        """What asyncio calls."""
        self._in_time()
        if self._parting is not None:
            self._parting.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What asyncio calls, and aiohttp, with nothing, to go on with what it has put aside."""
        if not data:
            super().data_received(data)
        elif self._parting is None:
            self._feed(data)

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

    def _part(self, kind: ErrorKind) -> None:
        """Refuse what is not even a request, and let the client go when it has had the time to read why."""
        self._in_time()
        if self.transport is None or self._parting is not None:
            return
        self._parting = asyncio.Event()
        self._shared.seldom.warning("bad requests")
        head, body = _refusal(kind, self._shared.clock.wall())
        self.transport.write(head + body)
        if self.transport.can_write_eof():
            with suppress(OSError):  # it may have gone
                self.transport.write_eof()
        self._loop.call_later(LINGER, self.transport.abort)

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
        """What aiohttp calls to have a response written, also that of an error."""
        resp, reset = await super().finish_response(request, resp, start_time)
        self.begun = False
        if request.version < (1, 1) and "Transfer-Encoding" in request.headers:
            # HTTP/1.0 has no chunks: what follows may be a part of the body (RFC 9112, section 6.1).
            self.close()
        if self._unsure:
            self._wait_for_the_rest()
        if self._held_back and not self._messages:
            self._read_on()
        return resp, reset

    def _read_on(self) -> None:
        self._held_back = False
        if self.transport is not None and not (self._reading_paused or self._buffer_paused):
            self.transport.resume_reading()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What aiohttp calls for what is not HTTP, and for exceptions that the handler did not expect."""
        del message, status  # they may have bytes of the request
        if isinstance(exc, HttpProcessingError):
            self._part(HEAD_TOO_LARGE if isinstance(exc, LineTooLong) else REQUEST_INVALID)
            return Parted(self._parting).response()
        if exc is not None:
            self._shared.seldom.failure("request failed", exc)
        if self.begun:
            raise ConnectionResetError("the answer had begun")
        head, body = _refusal(INTERNAL, self._shared.clock.wall())
        return Reply(head, b"" if request.method == "HEAD" else body, self._shared.budget, keep_alive=False).response()

    def log_exception(self, *args: object, **kwargs: object) -> None:
        """What aiohttp calls for exceptions that went through everything else."""
        del args
        problem = kwargs.get("exc_info")
        if isinstance(problem, HttpProcessingError | web.RequestPayloadError):
            self._shared.seldom.warning("bad requests")
        elif isinstance(problem, BaseException):
            self._shared.seldom.failure("connection failed", problem)


class Parted(Sent):
    """The last answer has been written, and aiohttp is not to close before the client has had the time to read it."""

    __slots__ = ("_gone",)

    def __init__(self, gone: asyncio.Event | None) -> None:
        super().__init__(keep_alive=False)
        self._gone = gone

    async def write_eof(self) -> None:
        """Wait until the client has gone, or was made to; aiohttp calls this."""
        if self._gone is not None:
            await self._gone.wait()


def _refusal(kind: ErrorKind, wall: float) -> tuple[bytes, bytes]:
    """Head and body of a last answer."""
    refusal = OciError(kind)
    body = refusal.body()
    return Rendered(kind.status, refusal_headers(refusal, len(body))).head(date(wall), b"Connection: close\r\n"), body
