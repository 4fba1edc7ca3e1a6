"""The ground that all fake servers stand on: a small HTTP/1.1 server over asyncio streams.

It is written by hand because a fake must be able to cut, hold or pace its answers at any byte, which a real server
library takes care to prevent.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from obol.machine.tasks import spawn
from tests.fakes.link import FIRST_PIECE, PIECE, LinkConnection, SlowLink

Pairs = tuple[tuple[str, str], ...]

REASONS = {200: "OK", 206: "Partial Content", 307: "Temporary Redirect", 401: "Unauthorized", 404: "Not Found"}
_LONGEST_HEAD = 1 << 17


@dataclass(slots=True)
class ReceivedRequest:
    """One request as it came, and what became of it.

    `target` is the raw request target, `at` the loop's time in seconds, `sent` the bytes of body that were written,
    without chunk framing. The kernel takes a few MiB more than a vanished client has read.
    """

    method: str
    target: str
    headers: Pairs
    at: float
    body: bytes = b""
    status: int = 0
    sent: int = 0

    @property
    def path(self) -> str:
        """The target up to the question mark, undecoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target after the question mark, undecoded."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """All headers of that name in any case, joined by commas; None if there is none."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a fake wants to say; the body begins at byte `offset` of its content."""

    status: int
    headers: Pairs = ()
    body: bytes | memoryview = b""
    offset: int = 0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class Forced:
    """An answer that is given whatever was asked."""

    status: int
    headers: Pairs = ()
    body: bytes = b""


StatusFor = Callable[[str], "Forced | int | None"] | Mapping[str, "Forced | int"]


@dataclass(eq=False, slots=True)
class Wire:
    """One connection, seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: LinkConnection
    ended: bool = False

    async def write(self, data: bytes | memoryview) -> None:
        """Send bytes as they are; ConnectionError when the client is gone."""
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    def finish(self) -> None:
        """End the connection with a FIN after what was written."""
        self.ended = True
        self.writer.close()

    def reset(self) -> None:
        """End the connection with an RST; what the kernel still holds is lost."""
        self.ended = True
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(slots=True)
class _Port:
    """A port that stays ours while nobody listens on it: a bound socket that never listens keeps it."""

    keeper: socket.socket = field(default_factory=lambda: _bound(0))

    @property
    def number(self) -> int:
        return int(self.keeper.getsockname()[1])


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


class FakeServer:
    """A server on 127.0.0.1 with a port of its own; `async with` starts and stops it.

    The attributes may be changed while it runs; each request takes them as they are then.

    - `status_for`: a function from the path to a forced answer or None, or forced answers by a part of the target.
    - `delay`: seconds, or an event to wait for, before the headers of a target that contains `delay_on`.
    - `gate`: while it is not set, no byte of content at `gate_at` or after leaves for a target that contains `gate_on`.
      The offset is that of the whole content, also in the answer to a range.
    - `cuts`: each entry ends one body for a target that contains `gate_on` by FIN after so many bytes of it.
    - `link`: shapes what is sent; a connection keeps the link it began with, whose rates may change.

    Leaving the block raises what a handler raised, unless the block itself failed.
    """

    def __init__(self, link: SlowLink | None = None) -> None:
        self.log: list[ReceivedRequest] = []
        self.link = link or SlowLink()
        self.status_for: StatusFor = {}
        self.delay: float | asyncio.Event = 0.0
        self.delay_on = ""
        self.gate: asyncio.Event | None = None
        self.gate_at = 0
        self.gate_on = "/blobs/"
        self.cuts: list[int] = []
        self._port: _Port | None = None
        self._listening: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], Wire] = {}
        self._problems: list[BaseException] = []
        self._arrived = asyncio.Event()

    async def answer(self, seen: ReceivedRequest) -> Answer:
        """What to say to a request that no knob answers."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """The port, the same for the fake's whole life."""
        assert self._port is not None, "not started"
        return self._port.number

    @property
    def url(self) -> str:
        """The base URL without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._open)

    def count(self, method: str = "", part: str = "") -> int:
        """How many requests of that method (empty: any) had this in their target."""
        return sum(1 for seen in self.log if method in {"", seen.method} and part in seen.target)

    def body_bytes(self, part: str = "") -> int:
        """How many bytes of body were sent for targets that contain this."""
        return sum(seen.sent for seen in self.log if part in seen.target)

    async def until(self, number: int, method: str = "", part: str = "") -> None:
        """Wait until `count(method, part)` is at least `number`."""
        while self.count(method, part) < number:
            self._arrived.clear()
            await self._arrived.wait()

    async def __aenter__(self) -> Self:
        self._port = _Port()
        await self.up()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        await self.down()
        if self._port:
            self._port.keeper.close()
        if self._problems and kind is None:
            raise self._problems[0]

    async def up(self) -> None:
        """Listen, again on the same port after `down`."""
        self._listening = await asyncio.start_server(
            self._accept, sock=_bound(self.port), limit=_LONGEST_HEAD, backlog=512
        )

    async def down(self) -> None:
        """Stop listening and drop every connection, as when the process dies."""
        if self._listening:
            self._listening.close()
            self._listening = None
        tasks = dict(self._open)
        for task, wire in tasks.items():
            wire.writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, self.link.connection())
        task = spawn(self._serve(wire), name=f"{type(self).__name__} connection")
        self._open[task] = wire
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        if not task.cancelled() and (problem := task.exception()):
            self._problems.append(problem)

    async def _serve(self, wire: Wire) -> None:
        try:
            await wire.connection.round_trip()
            while not wire.ended and (seen := await read_request(wire.reader)) is not None:
                self.log.append(seen)
                self._arrived.set()
                await self._wait(seen)
                await self.handle(seen, wire)
                if (seen.header("Connection") or "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            wire.writer.close()

    async def _wait(self, seen: ReceivedRequest) -> None:
        if self.delay_on not in seen.target:
            return
        if isinstance(self.delay, asyncio.Event):
            await self.delay.wait()
        elif self.delay:
            await asyncio.sleep(self.delay)

    async def handle(self, seen: ReceivedRequest, wire: Wire) -> None:
        forced = self._forced(seen)
        await self.send(seen, wire, forced or await self.answer(seen))

    def _forced(self, seen: ReceivedRequest) -> Answer | None:
        rules = self.status_for
        if callable(rules):
            found = rules(seen.path)
        else:
            found = next((value for part, value in rules.items() if part in seen.target), None)
        if isinstance(found, int):
            found = Forced(found)
        return Answer(found.status, found.headers, found.body) if found else None

    async def send(self, seen: ReceivedRequest, wire: Wire, answer: Answer) -> None:
        """Write an answer as the knobs want it."""
        seen.status = answer.status
        head = render_head(answer)
        await wire.connection.round_trip()
        if seen.method == "HEAD" or not (answer.body or answer.chunked):
            await wire.write(head)
            return
        await wire.write(head)
        async with wire.connection:
            await self._send_body(seen, wire, answer)

    async def _send_body(self, seen: ReceivedRequest, wire: Wire, answer: Answer) -> None:
        view = memoryview(answer.body)
        matters = self.gate_on in seen.target
        cut = self.cuts.pop(0) if matters and self.cuts else None
        for start, stop in _pieces(len(view), (self.gate_at - answer.offset, cut or 0)):
            if start == cut:
                wire.finish()
                return
            if matters and self.gate and answer.offset + start >= self.gate_at:
                await self.gate.wait()
            await wire.connection.carry(stop - start)
            piece = view[start:stop]
            await wire.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if answer.chunked else piece)
            seen.sent += len(piece)
        if answer.chunked:
            await wire.write(b"0\r\n\r\n")


def _pieces(length: int, marks: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    inside = {mark for mark in (FIRST_PIECE, *marks) if 0 < mark < length}
    return pairwise(sorted({*range(0, length, PIECE), *inside, length}))


def render_head(answer: Answer) -> bytes:
    """Status line and headers, with the framing that the answer needs unless it says its own."""
    lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Fake')}"]
    lines += [f"{key}: {value}" for key, value in answer.headers]
    named = {key.lower() for key, _ in answer.headers}
    if answer.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif "content-length" not in named:
        lines.append(f"Content-Length: {len(answer.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def read_request(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    """The next request of a connection, or None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    pairs = tuple((key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines[1:-2]))
    seen = ReceivedRequest(method, target, pairs, asyncio.get_running_loop().time())
    if length := seen.header("Content-Length"):
        seen.body = await reader.readexactly(int(length))
    return seen
