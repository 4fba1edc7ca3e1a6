"""Which ports of this machine lead to the ingress of a cluster: those that people know, as far as they are free.

A port below 1024 cannot be tried by a plain user: binding it is refused whether it is taken or not. Docker, which does
the binding, may do it all the same. So the kernel's own list of who listens is read as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from obol.rendering.k3d import WANTED_PORTS, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from obol.backends.publishing import Ports
    from obol.rendering.k3d import Published

ANYWHERE = "0.0.0.0"

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"


def listens(port: int, tables: tuple[Path, ...] = _TABLES) -> bool:
    """Tell whether somebody listens on `port` on any address, by proc_pid_net(5); False where there is no such list."""
    return any(_listed(table, port) for table in tables)


def choose(ports: Ports, listens: Callable[[int], bool]) -> tuple[tuple[Published, ...], tuple[str, ...]]:
    """Choose the ports, with a sentence for a person about each that is taken. Raises OSError where none is free."""
    busy = [host for host, _ in WANTED_PORTS if listens(host) or not ports.is_free(ANYWHERE, host)]
    published = publish(busy, lambda: ports.pick_free((ANYWHERE,)))
    notes = []
    for host, ingress in WANTED_PORTS:
        if host in busy:
            holder = ports.holder(host)
            by = f" by {holder}" if holder else ""
            instead = " and ".join(str(port.host) for port in published if port.ingress == ingress)
            notes.append(f"Port {host} is taken{by}: use {instead} instead.")
    return published, tuple(notes)


def _listed(table: Path, port: int) -> bool:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return False
    return any(row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port for row in rows)
