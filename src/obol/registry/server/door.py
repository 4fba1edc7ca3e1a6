"""How many clients are let in at a time, and that the others wait outside.

asyncio's own server accepts as long as the system gives it descriptors. When there are none left it logs a traceback
for each client that waits, again every second, and every other part of the engine fails as well. Here the number is
limited beforehand, and reaching it costs nothing: the ports are not looked at until somebody has left. Those who are
silent leave first, so that many idle connections keep nobody out.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from obol.machine.tasks import spawn
from obol.registry.policy.shares import MOST_CONNECTIONS

if TYPE_CHECKING:
    import socket

    from obol.machine.logs import Seldom
    from obol.registry.server.connection import Connection, Connections

AT_ONCE = 32
"""Clients that one port lets in before others have a turn."""
IDLE_FOR = 1.0
"""Seconds after which a connection that asks for nothing may be closed for a new one."""
RETRY = 0.5
"""Seconds after which it is looked again whether somebody can be let in, if nobody left meanwhile."""
RAISE_IT = "the limit of open files (ulimit -n) allows no more at a time"
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


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
        """Whether one more may come in; where not, the door is shut until somebody leaves."""
        if self._inside < self._most:
            return True
        self._wait("no more are served at a time" if self._most == MOST_CONNECTIONS else RAISE_IT)
        self._shut()
        return False

    def entered(self) -> None:
        """One has come in."""
        self._inside += 1

    def left(self) -> None:
        """One has gone."""
        self._inside -= 1
        if self._retry is not None and self._inside < self._most:
            self._open()

    def failed(self, problem: OSError) -> None:
        """The system lets nobody in."""
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
        """Close those who have been silent for longest: a few at a time, since all have to be looked at for it."""
        until = asyncio.get_running_loop().time() - IDLE_FOR
        everybody = (one for entrance in self._entrances for one in entrance.connections)
        silent = sorted((one for one in everybody if not one.busy and one.heard <= until), key=lambda one: one.heard)
        for one in silent[: max(1, self._most // 16)]:
            one.force_close()


class Entrance:
    """One port."""

    def __init__(self, listening: socket.socket, server: Connections, door: Door) -> None:
        self._listening = listening
        self._server = server
        self._door = door
        self._loop = asyncio.get_running_loop()
        door.add(self)
        if door.is_open:
            self.resume()

    @property
    def connections(self) -> list[Connection]:
        """Who came in here."""
        return self._server.everybody

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
            await self._loop.connect_accepted_socket(self._server, accepted)
        except OSError:
            accepted.close()
            self._door.left()
