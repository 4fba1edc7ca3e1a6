"""Which ports of this machine lead to a cluster: to its ingress those that people know, as far as they are free.

A plain user cannot try a port below 1024: the kernel refuses to bind it, taken or not. Docker, which does the binding,
may do it all the same. So the kernel's own list of listeners is read as well, and Docker is asked what it publishes.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.rendering.k3d import WANTED_PORTS, beside, publish
from obol.rendering.names import LOOPBACK

if TYPE_CHECKING:
    from obol.machine.docker.cli import Docker
    from obol.machine.ports import PortProbe
    from obol.rendering.k3d import PortMapping


async def holder_of(docker: Docker, ports: PortProbe, port: int) -> str:
    """Name who holds a port; "" where we cannot. Docker's own proxy, which shows to root only, is no name."""
    with contextlib.suppress(ObolError):
        if found := await docker.publishing(port):
            return f"the container {found[0].name}"
    holder = ports.holder(port)
    return str(holder) if holder else ""


_ATTEMPTS = 32


@dataclass(frozen=True, slots=True)
class Taken:
    """A port that people know, and that leads elsewhere."""

    port: int
    instead: tuple[int, ...]

    def note(self, holder: str) -> str:
        """A sentence for a person; `holder` is "" where it is not known."""
        by = f" by {holder}" if holder else ""
        return f"Port {self.port} is taken{by}: use {' and '.join(map(str, self.instead))} instead."


@dataclass(frozen=True, slots=True)
class Chosen:
    """The ports of one cluster on loopback."""

    ingress: tuple[PortMapping, ...]
    api: int
    """Where the cluster's API is."""
    taken: tuple[Taken, ...] = ()
    """Each wanted port that another program has."""

    @property
    def all(self) -> frozenset[int]:
        """Every port of this machine that is to be bound."""
        return frozenset((self.api, *(port.host for port in self.ingress)))


def choose(ports: PortProbe, listens: Callable[[int], bool], refused: Collection[int] = ()) -> Chosen:
    """Choose the ports, all of them different. Raises OSError where none is free.

    Docker has `refused` some: they are not tried again, though they may look free, as to a plain user below 1024.
    """

    def spare() -> int:
        for _ in range(_ATTEMPTS):
            if (port := ports.pick_free((LOOPBACK,))) not in refused:
                return port
        raise OSError(errno.EADDRINUSE, "no port is free that Docker has not refused")

    busy = [host for host, _ in WANTED_PORTS if host in refused or listens(host) or not ports.is_free(LOOPBACK, host)]
    published = publish(busy, spare)
    taken = tuple(
        Taken(host, tuple(port.host for port in published if port.ingress == ingress))
        for host, ingress in WANTED_PORTS
        if host in busy
    )
    return Chosen(published, beside(published, spare), taken)
