"""The ports: opened and closed while the engine runs, each for one registry; and how many clients come in by them.

asyncio's own server accepts as long as the system gives it descriptors. When there are none left it logs a traceback
for each client that waits, again every second, and every other part of the engine fails as well. Here the number is
limited beforehand, and reaching it costs nothing: the ports are not looked at until a client has left. Those that are
silent leave first, so that many idle connections keep no client out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from obol.errors import PortTaken
from obol.machine.tasks import spawn
from obol.registry.policy.shares import MOST_CONNECTIONS
from obol.registry.server.connection import Connections

if TYPE_CHECKING:
    from obol.machine.logs import Seldom
    from obol.registry.control.api import Listener
    from obol.registry.server.exchange import Shared
    from obol.registry.server.handler import Handler

BACKLOG = 1024
CONGESTION_CONTROL = b"reno"
"""Our clients are on this machine: no line between us can be congested, so the algorithm that does least is best, and
every Linux has it. BBR, the default of some machines, sends by the clock, and takes twice the processor time."""
IP_FREEBIND = 15
"""linux/in.h: bind to an address that is not there yet, or not any more (a Docker bridge during a restart)."""
AT_ONCE = 32
"""Clients that one port lets in before others have a turn."""
IDLE_FOR = 1.0
"""Seconds after which a connection that asks for nothing may be closed for a new one."""
RETRY = 0.5
"""Seconds after which the door is opened again for a try, if no client left meanwhile."""
RAISE_IT = "the limit of open files (ulimit -n) allows no more at a time"
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listeners:
    """All open ports of one engine."""

    def __init__(self, make: Callable[[str], Handler], shared: Shared) -> None:
        self._make = make
        self.shared = shared
        self._door = Door(shared.connections, shared.seldom)
        self._open: dict[Listener, Entrance] = {}
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
        self.shared.hosts.listen(wanted.address)
        self._open[real] = Entrance(bound, server, self._door)
        return real

    async def drop(self, listener: Listener) -> bool:
        """Close a port; tells whether it was open."""
        entrance = self._open.pop(listener, None)
        if entrance is None:
            return False
        await self._end([entrance])
        return True

    async def close(self) -> None:
        """Stop accepting everywhere, let what runs end within the limit, then cut it."""
        entrances = list(self._open.values())
        self._open.clear()
        await self._end(entrances)

    async def _end(self, entrances: Sequence[Entrance]) -> None:
        for entrance in entrances:
            entrance.close()
        # Half of the limit, because aiohttp waits twice: for an answer to end, and for its task to.
        within = self.shared.limits.shutdown / 2
        await asyncio.gather(*(entrance.server.shutdown(within) for entrance in entrances))


class Door:
    """The connections of all ports."""

    def __init__(self, most: int, seldom: Seldom) -> None:
        self._most = most
        self._seldom = seldom
        self._inside = 0
        self._entrances: list[Entrance] = []
        self._retry: asyncio.TimerHandle | None = None
        """Set while the door is shut."""

    def add(self, entrance: Entrance) -> None:
        """One more port."""
        self._entrances.append(entrance)

    def remove(self, entrance: Entrance) -> None:
        """A port is closed."""
        self._entrances.remove(entrance)
        if not self._entrances and self._retry is not None:
            self._retry.cancel()
            self._retry = None

    @property
    def is_open(self) -> bool:
        """Whether ports are looked at."""
        return self._retry is None

    def has_room(self) -> bool:
        """Whether one more client may come in; where not, the door is shut until one leaves."""
        if self._inside < self._most:
            return True
        self._wait("no more are served at a time" if self._most == MOST_CONNECTIONS else RAISE_IT)
        self._shut()
        return False

    def entered(self) -> None:
        """A client has come in."""
        self._inside += 1

    def left(self) -> None:
        """A client has gone."""
        self._inside -= 1
        if self._retry is not None and self._inside < self._most:
            self._open()

    def failed(self, problem: OSError) -> None:
        """The system lets no client in."""
        if problem.errno in _EXHAUSTED:
            self._wait(RAISE_IT)
        self._shut()

    def _wait(self, why: str) -> None:
        self._seldom.warning("clients wait", connections=self._inside, why=why)

    def _shut(self) -> None:
        self._let_silent_ones_go()
        if self._retry is not None:
            return
        for entrance in self._entrances:
            entrance.pause()
        self._retry = asyncio.get_running_loop().call_later(RETRY, self._open)

    def _open(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for entrance in self._entrances:
            entrance.resume()

    def _let_silent_ones_go(self) -> None:
        """Close the connections that have been silent for longest: a few at a time, finding them costs."""
        until = asyncio.get_running_loop().time() - IDLE_FOR
        all_of_them = (one for entrance in self._entrances for one in entrance.server.open)
        silent = sorted((one for one in all_of_them if not one.busy and one.heard <= until), key=lambda one: one.heard)
        for one in silent[: max(1, self._most // 16)]:
            one.force_close()


class Entrance:
    """One port."""

    def __init__(self, listening: socket.socket, server: Connections, door: Door) -> None:
        self._listening = listening
        self.server = server
        self._door = door
        self._loop = asyncio.get_running_loop()
        door.add(self)
        if door.is_open:
            self.resume()

    def resume(self) -> None:
        """Let clients in."""
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def pause(self) -> None:
        """Let them wait."""
        self._loop.remove_reader(self._listening.fileno())

    def close(self) -> None:
        """Give up the port."""
        self.pause()
        self._door.remove(self)
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if not self._door.has_room():
                return
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                self._door.failed(problem)
                return
            accepted.setblocking(False)
            self._door.entered()
            spawn(self._connect(accepted), name="connection")

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self.server, accepted)
        except OSError:
            accepted.close()
            self._door.left()


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
