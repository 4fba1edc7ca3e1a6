"""Which ports of this machine lead to a cluster: to its ingress those that people know, as far as they are free.

A port below 1024 cannot be tried by a plain user: binding it is refused whether it is taken or not. Docker, which does
the binding, may do it all the same. So the kernel's own list of who listens is read as well.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.rendering.k3d import WANTED_PORTS, beside, publish
from obol.rendering.loopback import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from obol.backends.publishing import Ports
    from obol.rendering.k3d import PortMapping


_ATTEMPTS = 32


@dataclass(frozen=True, slots=True)
class Taken:
    """A port that people know, and that leads elsewhere."""

    port: int
    instead: tuple[int, ...]

    def note(self, holder: str) -> str:
        """A sentence for a person; `holder` is "" for nobody we could name."""
        by = f" by {holder}" if holder else ""
        return f"Port {self.port} is taken{by}: use {' and '.join(map(str, self.instead))} instead."


@dataclass(frozen=True, slots=True)
class Chosen:
    """The ports of one cluster on loopback."""

    ingress: tuple[PortMapping, ...]
    api: int
    """Where the cluster's API is."""
    taken: tuple[Taken, ...] = ()
    """Each wanted port that somebody else has."""

    @property
    def all(self) -> frozenset[int]:
        """Every port of this machine that is to be bound."""
        return frozenset((self.api, *(port.host for port in self.ingress)))


def choose(ports: Ports, listens: Callable[[int], bool], refused: Collection[int] = ()) -> Chosen:
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
