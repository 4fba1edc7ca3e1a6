"""Accounts for commands: opened with ports that only the command's own clients know, and closed with it.

A command that dies closes nothing, so its process is looked for now and then. The ports of an account are part of no
status: nobody else is to use them.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.tasks import spawn
from obol.registry.control.api import MOST_PORTS, AccountStatus, Given

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from obol.machine.clock import Clock
    from obol.registry.control.api import AccountRequest, Listener
    from obol.registry.control.remembered import OpenPorts
    from obol.registry.engine.accounts import Account, Accounts

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
        for name, owner in self._accounts.owners().items():
            if not self._alive(owner):
                await self.close(name)

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
