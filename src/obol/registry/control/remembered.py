"""Ports that were opened over the control socket, so that the next engine on the store opens them again.

Nodes that run go on asking at the gateway of their network after the engine was restarted, or the whole machine; nobody
may be there then to tell the engine of it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from obol.errors import PortTaken
from obol.machine import logs
from obol.machine.regular import read, write_atomically
from obol.registry.engine.status import ListenerStatus
from obol.registry.settings import ListenerSettings

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from obol.registry.control.server import Ports

FILE = "listeners.json"
MOST = 16
"""How many are kept, the last ones: a machine has few networks that nodes are on."""


class RememberedPorts:
    """The engine's ports, written down as they are opened and closed."""

    def __init__(self, ports: Ports, store: Path, registries: Collection[str]) -> None:
        self._ports = ports
        self._path = store / FILE
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

    async def add(self, wanted: ListenerSettings, *, absent_address: bool = False) -> ListenerSettings:
        """Open a port, and remember it. Raises PortTaken."""
        real = await self._ports.add(wanted, absent_address=absent_address)
        known = self._recall()
        others = [one for one in known if (one.registry, one.address) != (real.registry, real.address)]
        self._remember([*others, real], known)
        return real

    async def drop(self, settings: ListenerSettings) -> bool:
        """Close a port, and forget it."""
        known = self._recall()
        self._remember([one for one in known if one != settings], known)
        return await self._ports.drop(settings)

    def _recall(self) -> list[ListenerSettings]:
        """A file that is missing or spoilt remembers nothing."""
        try:
            listed = msgspec.json.decode(read(self._path), type=list[ListenerStatus])
        except (OSError, msgspec.DecodeError):
            return []
        return [ListenerSettings(one.registry, one.port, one.address) for one in listed if _possible(one)]

    def _remember(self, ports: list[ListenerSettings], known: list[ListenerSettings]) -> None:
        if ports == known:
            return
        listed = [ListenerStatus(one.registry, one.address, one.port) for one in ports[-MOST:]]
        try:
            write_atomically(self._path, msgspec.json.encode(listed))
        except OSError as problem:  # what is served matters more
            logs.get().warning("ports are not remembered", path=str(self._path), why=problem.strerror or str(problem))


def _possible(one: ListenerStatus) -> bool:
    """Whether one could listen there at all: nobody may be kept from starting by a number in a file."""
    try:
        ip_address(one.address)
    except ValueError:
        return False
    return one.port in range(65536)
