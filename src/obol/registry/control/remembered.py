"""Ports that were opened over the control socket, so that the next engine on the store opens them again.

Nodes that run go on asking at the gateway of their network after the engine was restarted, or the whole machine; nobody
may be there then to tell the engine of it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

import msgspec

from obol.errors import PortTaken
from obol.machine import logs
from obol.machine.regular import read, write_atomically
from obol.registry.control.api import Listener
from obol.registry.store.layout import LISTENERS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


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
    """Whether one could listen there at all: nobody may be kept from starting by a number in a file."""
    try:
        ip_address(one.address)
    except ValueError:
        return False
    return one.port in range(65536)
