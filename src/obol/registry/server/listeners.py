"""The ports: opened and closed while the engine runs, each for one registry."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from obol.errors import PortTaken
from obol.registry.server.connection import Connections
from obol.registry.server.door import Door, Entrance

if TYPE_CHECKING:
    from collections.abc import Callable

    from obol.registry.control.api import Listener
    from obol.registry.server.handler import Handler
    from obol.registry.server.incoming import Shared

BACKLOG = 1024
CONGESTION_CONTROL = b"reno"
"""Our clients are on this machine: no line between us can be congested, so the algorithm that does least is best, and
every Linux has it. BBR, the default of some machines, sends by the clock, and takes twice the processor time."""
IP_FREEBIND = 15
"""linux/in.h: bind to an address that is not there yet, or not any more (a Docker bridge during a restart)."""


@dataclass(frozen=True, slots=True)
class Listening:
    """One open port."""

    settings: Listener
    entrance: Entrance
    server: Connections


class Listeners:
    """All open ports of one engine."""

    def __init__(self, make: Callable[[str], Handler], shared: Shared) -> None:
        self._make = make
        self.shared = shared
        self._door = Door(shared.connections, shared.seldom)
        self._open: dict[Listener, Listening] = {}
        self._handlers: dict[str, Handler] = {}

    def list(self) -> list[Listener]:
        """What is open, with real port numbers."""
        return list(self._open)

    async def add(self, wanted: Listener, *, absent_address: bool = False) -> Listener:
        """Open a port; returns it with its real number. One that is open already is left alone.

        `absent_address` allows an address that the machine does not have at the moment. Raises PortTaken.
        """
        if wanted in self._open:
            return wanted
        bound = _bind(wanted, absent_address=absent_address)
        real = replace(wanted, port=bound.getsockname()[1])
        handler = self._handlers.setdefault(wanted.registry, self._make(wanted.registry))
        server = Connections(handler.handle, handler.repeat, self.shared, self._door)
        entrance = Entrance(bound, server, self._door)
        self.shared.hosts.listen(wanted.address)
        self._open[real] = Listening(real, entrance, server)
        return real

    async def drop(self, listener: Listener) -> bool:
        """Close a port; tells whether it was open."""
        listening = self._open.pop(listener, None)
        if listening is None:
            return False
        listening.entrance.close()
        await listening.server.shutdown(self._patience())
        return True

    async def close(self) -> None:
        """Stop accepting everywhere, let what runs end within the limit, then cut it."""
        open_ones = list(self._open.values())
        self._open.clear()
        for listening in open_ones:
            listening.entrance.close()
        await asyncio.gather(*(listening.server.shutdown(self._patience()) for listening in open_ones))

    def _patience(self) -> float:
        """Half of the limit, because aiohttp waits twice: for an answer to end, and for its task to."""
        return self.shared.limits.shutdown / 2


def _bind(wanted: Listener, *, absent_address: bool) -> socket.socket:
    family = socket.AF_INET6 if ipaddress.ip_address(wanted.address).version == 6 else socket.AF_INET
    # With the protocol named, asyncio turns off Nagle's algorithm on what it accepts; without it, it does not.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if absent_address and hasattr(socket, "SOL_IP"):
            bound.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        _control_congestion(bound)
        bound.bind((wanted.address, wanted.port))
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as problem:
        bound.close()
        raise PortTaken(
            f"cannot listen on {wanted.address}:{wanted.port} for {wanted.registry}",
            why=problem.strerror or str(problem),
            hint="stop what holds the port, or choose another one with --port",
        ) from problem
    return bound


def _control_congestion(listening: socket.socket) -> None:
    """Choose for all that it will accept, where the system lets us (Linux)."""
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is not None:
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.IPPROTO_TCP, option, CONGESTION_CONTROL)
