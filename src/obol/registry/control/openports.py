"""Ports that commands open over the control socket: some stay, some are open for as long as an account.

Nodes that run go on asking at the gateway of their network after the engine, or the whole machine, was restarted; no
command may be there then to tell the engine of it. So the next engine on the store opens these ports again.

The ports of an account are known to its command's own clients only, and in no status. A command that dies closes
nothing, so its process is looked for now and then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from obol.errors import ObolError, PortTaken
from obol.machine import logs
from obol.machine.regular import read, write_atomically
from obol.machine.tasks import spawn
from obol.registry.control.api import MOST_PORTS, AccountStatus, Given, Listener
from obol.registry.store.layout import LISTENERS

if TYPE_CHECKING:
    import asyncio

    from obol.machine.clock import Clock
    from obol.registry.control.api import AccountRequest
    from obol.registry.engine.accounts import Account, Accounts


MOST = 16
"""How many are kept, the last ones: a machine has few networks that nodes are on."""


class OpenPorts(Protocol):
    """The engine's open ports, as `registry.server` manages them."""

    async def add(self, wanted: Listener, *, absent_address: bool = False) -> Listener:
        """Open a port; returns it with its real number. Raises PortTaken."""
        ...

    async def drop(self, listener: Listener) -> bool:
        """Close a port; tells whether it was open."""
        ...


class RememberedPorts:
    """The engine's ports, written down as they are opened."""

    def __init__(self, ports: OpenPorts, store: Path, registries: Collection[str]) -> None:
        self._ports = ports
        self._path = store / LISTENERS
        self._registries = registries

    async def reopen(self) -> None:
        """Open what was open; one that cannot be is left for later, for its port may be taken only now."""
        for wanted in self._recall():
            if wanted.registry not in self._registries:
                continue
            try:
                await self._ports.add(wanted, absent_address=True)
            except PortTaken as problem:
                logs.get().warning(str(problem), registry=wanted.registry)

    async def add(self, wanted: Listener) -> Listener:
        """Open a port, and remember it. Raises PortTaken."""
        real = await self._ports.add(wanted, absent_address=True)
        known = self._recall()
        others = [one for one in known if (one.registry, one.address) != (real.registry, real.address)]
        self._remember([*others, real], known)
        return real

    def _recall(self) -> list[Listener]:
        """A file that is missing or spoilt remembers nothing."""
        try:
            listed = msgspec.json.decode(read(self._path), type=list[Listener])
        except (OSError, msgspec.DecodeError):
            return []
        return [one for one in listed if _possible(one)]

    def _remember(self, ports: list[Listener], known: list[Listener]) -> None:
        if ports == known:
            return
        try:
            write_atomically(self._path, msgspec.json.encode(ports[-MOST:]))
        except OSError as problem:  # what is served matters more
            logs.get().warning("ports are not remembered", path=str(self._path), why=problem.strerror or str(problem))


def _possible(one: Listener) -> bool:
    """Whether an engine could listen there at all: a number in a file must not keep it from starting."""
    try:
        ip_address(one.address)
    except ValueError:
        return False
    return one.port in range(65536)


LOOK_EVERY = 15.0
"""Seconds between two looks for the processes that opened accounts."""


class Measuring:
    """The accounts of commands, and their ports."""

    def __init__(
        self,
        begin: Callable[[int], Account | None],
        accounts: Accounts,
        ports: OpenPorts,
        clock: Clock,
        alive: Callable[[int], bool] | None = None,
    ) -> None:
        self._begin = begin
        self._accounts = accounts
        self._ports = ports
        self._clock = clock
        self._alive = alive or is_alive
        self._opened: dict[str, list[Listener]] = {}
        self._looking: asyncio.Task[None] | None = None

    def owns(self, listener: Listener) -> bool:
        """Whether a port is that of an account."""
        return any(listener in opened for opened in self._opened.values())

    async def open(self, request: AccountRequest) -> AccountStatus | None:
        """Open an account and its ports; None where too many are open. Raises PortTaken."""
        await self.sweep()
        account = self._begin(request.owner)
        if account is None:
            return None
        opened = self._opened[account.name] = []
        try:
            for one in request.listeners[:MOST_PORTS]:
                opened += [await self._ports.add(one)]
        except ObolError:
            await self.close(account.name)
            raise
        if self._looking is None:
            self._looking = spawn(self._look(), name="accounts")
        return _told(account, opened)

    async def close(self, name: str) -> AccountStatus | None:
        """Close an account with its ports, and tell what it came to; None where there is none."""
        account = self._accounts.close(name)
        opened = self._opened.pop(name, [])
        if opened:
            spawn(self._drop(opened), name="ports of an account")
        return None if account is None else _told(account, opened)

    async def sweep(self) -> None:
        """Close the accounts of processes that have ended."""
        for account in list(self._accounts.running.values()):
            if not self._alive(account.owner):
                await self.close(account.name)

    async def _drop(self, ports: Sequence[Listener]) -> None:
        """Close ports, which takes as long as what is being sent there."""
        for one in ports:
            await self._ports.drop(one)

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            await self.sweep()

    async def end(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(BaseException):
                await self._looking


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _told(account: Account, opened: Sequence[Listener]) -> AccountStatus:
    given = tuple(
        Given(ends.address, ends.port, ends.peer, registry, tally.held, tally.fetched)
        for (ends, registry), tally in account.tallies.items()
    )
    return AccountStatus(account.name, account.whole, tuple(opened), given)
