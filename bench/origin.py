"""The origin that all peers share: the demo's, in a process of its own, which can be slowed anew between two rows.

It can be unplugged, and comes back on the same port, since peers are told once where their upstream is.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Self

from obol.demo.base import Link
from obol.demo.origin import HOST, OriginServer, SlowLink

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from aiohttp import web

    from obol.demo.images import Collection

UNSHAPED = Link(0.0, 0.0, 0.0)
STARTS_WITHIN = 30.0


class _Plug(Enum):
    OUT = auto()
    IN = auto()


_Order = Link | _Plug | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What the origin has done so far: bytes of bodies that it sent, and requests that it got."""

    size: int
    requests: int

    def since(self, before: Counts) -> Counts:
        """What was done between two countings."""
        return Counts(self.size - before.size, self.requests - before.requests)


class _CountingOrigin(OriginServer):
    """The demo's origin, which can come back on the port that it had."""

    def __init__(self, collection: Collection, link: SlowLink, port: int = 0) -> None:
        super().__init__(collection, link)
        self.requests = 0
        self._wanted = port

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.get_running_loop().create_server(self._web, HOST, self._wanted)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        return await super()._handle(request)


class OriginProcess:
    """An origin on `port`; `pid` is its process."""

    def __init__(self, process: multiprocessing.process.BaseProcess, orders: Connection, port: int) -> None:
        self.port = port
        self.pid = process.pid or 0
        self._process = process
        self._orders = orders

    def slow(self, link: Link) -> None:
        """Behave like this link from now on; zeros are no limits."""
        self._tell(link)

    def counts(self) -> Counts:
        """Count what it did."""
        return self._tell(None)

    def _tell(self, order: _Order) -> Counts:
        self._orders.send(order)
        counts: Counts = self._orders.recv()
        return counts

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Nobody answers on its port within the block; its counts begin anew after it."""
        self._tell(_Plug.OUT)
        try:
            yield
        finally:
            self._tell(_Plug.IN)


@contextmanager
def running_origin(collection: Collection) -> Iterator[OriginProcess]:
    """Start an origin that is not slowed; it is gone at the end of the block. Raises RuntimeError."""
    context = multiprocessing.get_context("spawn")  # a forked child would share our threads' locks
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(collection, there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(STARTS_WITHIN):
            raise RuntimeError("the origin did not start")
        yield OriginProcess(process, here, here.recv())
    finally:
        process.kill()
        process.join()
        here.close()


def _run(collection: Collection, orders: Connection) -> None:
    asyncio.run(_serve(collection, orders))


async def _serve(collection: Collection, orders: Connection) -> None:
    """Do as told until whoever started us is gone; each order is answered with what was done so far."""
    link = SlowLink(None, None, 0.0)
    origin = await _CountingOrigin(collection, link).__aenter__()
    orders.send(origin.port)
    while True:
        try:
            order = await asyncio.to_thread(orders.recv)
        except EOFError:
            return
        match order:
            case Link(total_bps, connection_bps, latency):
                link.total_bps, link.per_connection_bps, link.latency = total_bps, connection_bps, latency
            case _Plug.OUT:
                await origin.__aexit__()
            case _Plug.IN:
                origin = await _CountingOrigin(collection, link, origin.port).__aenter__()
        orders.send(Counts(origin.sent, origin.requests))
