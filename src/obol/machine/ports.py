"""Addresses and TCP ports of this machine: whether one is free, who holds it, and a free one to use instead.

Who holds a port is read from /proc, as far as we may; elsewhere no holder is named. Between the answer and the use of
it a port may be taken: the program that binds must still be ready to fail.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

_PROC = Path("/proc")
_LISTEN = "0A"
_IP_FREEBIND = 15  # linux/in.h; the socket module does not name it
_ATTEMPTS = 32


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens on a port."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


class PortProbe(Protocol):
    """The questions below, as a value: this module is one."""

    def is_free(self, address: str, port: int) -> bool:
        """Tell whether a server could listen there."""
        ...

    def pick_free(self, addresses: tuple[str, ...]) -> int:
        """Choose a port that is free on all of them."""
        ...

    def holder(self, port: int) -> Holder | None:
        """Name the process that listens there."""
        ...


def is_free(address: str, port: int) -> bool:
    """Tell whether a server could listen there now; an address that this machine does not have (yet) holds nothing."""
    try:
        with _bound(address, port):
            return True
    except OSError as problem:
        return problem.errno != errno.EADDRINUSE


def pick_free(addresses: tuple[str, ...]) -> int:
    """Choose a port that is free on all `addresses`; raises OSError where none can be found."""
    for _ in range(_ATTEMPTS):
        with _bound(addresses[0], 0) as probe:
            port: int = probe.getsockname()[1]
        if all(is_free(address, port) for address in addresses):
            return port
    raise OSError(errno.EADDRINUSE, f"no port is free on all of {', '.join(addresses)}")


def listens(port: int, proc: Path = _PROC) -> bool:
    """Tell whether a program listens on `port` on any address; False where there is no list of it.

    It needs no right to bind there, as `is_free` does below 1024.
    """
    return any(True for _ in _listening(proc, port))


def holder(port: int, proc: Path = _PROC) -> Holder | None:
    """Name the process that listens on `port` on any address; None where none does or we may not know."""
    sockets = {f"socket:[{inode}]" for inode in _listening(proc, port)}
    if not sockets:
        return None
    for process in proc.iterdir():
        if process.name.isdecimal() and not sockets.isdisjoint(_descriptors(process / "fd")):
            return Holder(int(process.name), _name(process))
    return None


@contextlib.contextmanager
def _bound(address: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As a server does: without it, connections that ended a moment ago would count as a holder.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with contextlib.suppress(OSError):
            probe.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        probe.bind((address, port))
        yield probe


def _listening(proc: Path, port: int) -> Iterator[str]:
    """Read the inodes of listening sockets from /proc/net/tcp and tcp6: see proc_pid_net(5)."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]


def _descriptors(directory: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):  # not ours to see, or gone meanwhile
        for link in directory.iterdir():
            with contextlib.suppress(OSError):
                yield str(link.readlink())


def _name(process: Path) -> str:
    """Its name; for an interpreter also what it interprets, or every Python server would be called python."""
    try:
        name = (process / "comm").read_text().strip()
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "a process"
    return " ".join((name, *words[1:3])).strip() if name.startswith("python") else name


def is_ours(address: str) -> bool:
    """Whether a server on this machine could listen on `address` right now."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # EADDRNOTAVAIL, or a family that this machine does not have
            return False
        return True


def bracketed(address: str) -> str:
    """The address as URLs have it: one of IPv6 is between brackets there."""
    return f"[{address}]" if ":" in address else address
