"""Accounts for commands: opened with ports that only the command's own clients know, and closed with it.

A command that dies closes nothing, so its process is looked for now and then. The ports of an account are part of no
status: nobody else is to use them.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from obol.errors import ObolError
from obol.machine.tasks import spawn
from obol.registry.engine.status import ListenerStatus
from obol.registry.settings import ListenerSettings

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from obol.machine.clock import Clock
    from obol.registry.control.server import Ports
    from obol.registry.engine.accounts import Account, Accounts

LOOK_EVERY = 15.0
"""Seconds between two looks for the processes that opened accounts."""
MOST_PORTS = 64
"""Of one account."""


class AccountWanted(msgspec.Struct, frozen=True):
    """An account that a command wants."""

    owner: int
    """Its process."""
    listeners: list[ListenerStatus]
    """Ports for its own clients; 0 lets the system choose one."""


class Given(msgspec.Struct, frozen=True):
    """What one client was given of one registry; sizes in bytes, each byte of a blob once."""

    address: str
    """Where it asked, as the next."""
    port: int
    peer: str
    """From where it asked."""
    registry: str
    held: int
    """Of what was stored as a whole when the account was opened."""
    fetched: int
    """Of what came from the upstream since."""


class AccountStatus(msgspec.Struct, frozen=True):
    """An account."""

    name: str
    whole: bool
    """Whether it knows of everything that happened since it was opened."""
    listeners: list[ListenerStatus]
    given: list[Given]


class Measuring:
    """The accounts of commands, and their ports."""

    def __init__(
        self,
        begin: Callable[[int], Account | None],
        accounts: Accounts,
        ports: Ports,
        clock: Clock,
        alive: Callable[[int], bool] | None = None,
    ) -> None:
        self._begin = begin
        self._accounts = accounts
        self._ports = ports
        self._clock = clock
        self._alive = alive or is_alive
        self._opened: dict[str, list[ListenerSettings]] = {}
        self._looking: asyncio.Task[None] | None = None

    def owns(self, settings: ListenerSettings) -> bool:
        """Whether a port is that of an account."""
        return any(settings in opened for opened in self._opened.values())

    async def open(self, wanted: AccountWanted) -> AccountStatus | None:
        """Open an account and its ports; None where too many are open. Raises PortTaken."""
        await self.sweep()
        account = self._begin(wanted.owner)
        if account is None:
            return None
        opened = self._opened[account.name] = []
        try:
            for one in wanted.listeners[:MOST_PORTS]:
                real = await self._ports.add(ListenerSettings(one.registry, one.port, one.address))
                opened += [real]
        except ObolError:
            await self.close(account.name)
            raise
        if self._looking is None:
            self._looking = spawn(self._look(), name="accounts")
        return _told(account, opened)

    def status(self, name: str) -> AccountStatus | None:
        """What an account has come to; None where there is none."""
        account = self._accounts.find(name)
        return None if account is None else _told(account, self._opened.get(name, ()))

    async def close(self, name: str) -> AccountStatus | None:
        """Close an account with its ports, and tell what it came to; None where there is none."""
        account = self._accounts.close(name)
        opened = self._opened.pop(name, [])
        if opened:
            spawn(self._drop(opened), name="ports of an account")
        return None if account is None else _told(account, opened)

    async def sweep(self) -> None:
        """Close the accounts of processes that have ended."""
        for name, owner in self._accounts.owners().items():
            if not self._alive(owner):
                await self.close(name)

    async def _drop(self, ports: Sequence[ListenerSettings]) -> None:
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


def _told(account: Account, opened: Sequence[ListenerSettings]) -> AccountStatus:
    given = [
        Given(ends.address, ends.port, ends.peer, registry, tally.held, tally.fetched)
        for (ends, registry), tally in account.tallies.items()
    ]
    listeners = [ListenerStatus(one.registry, one.address, one.port) for one in opened]
    return AccountStatus(account.name, account.whole, listeners, given)
