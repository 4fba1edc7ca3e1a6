"""Where on this machine the caches are reached: addresses, and ports that serve in place of those that are taken.

A substitute is remembered: nodes and daemons are configured with it, and should find us there again. But the wanted
port is what people know, so it is used again as soon as it is free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from obol.errors import PortTaken
from obol.machine.ports import bracketed
from obol.machine.regular import READABLE_FILE, find_ours, read, write_atomically
from obol.registry.store.layout import SUBSTITUTES

if TYPE_CHECKING:
    from obol.machine.ports import PortProbe
    from obol.registry.control.api import Listener


OURS = frozenset({"builtin", "gateway", "containers"})
"""Directories of a cache root that are of no container."""


def has_traces(root: Path) -> bool:
    """Tell whether a directory of a container is there: each has one."""
    try:
        return any(one.name not in OURS and one.is_dir() for one in root.iterdir())
    except OSError:
        return False


_ATTEMPTS = 16
_PORTS = 65536


@dataclass(frozen=True, slots=True)
class Substitute:
    """A port that serves in place of the one that was asked for."""

    registry: str
    """Whose images it serves."""
    wanted: int
    """The port that was asked for."""
    port: int
    """The port that serves."""
    holder: str
    """The process that holds the wanted one; "" where that is not known."""
    free: bool = False
    """The wanted one is free again: the next engine takes it."""


def settle(
    wanted: Sequence[Listener], remembered: Mapping[str, Substitute], probe: PortProbe
) -> tuple[Substitute, ...]:
    """Find a substitute for each registry whose port is taken on any of its addresses, or may be any.

    Raises PortTaken where no port at all is free.
    """
    taken = {listener.port for listener in wanted}
    found = []
    for registry in dict.fromkeys(listener.registry for listener in wanted):
        own = [listener for listener in wanted if listener.registry == registry]
        port, addresses = own[0].port, tuple(listener.address for listener in own)
        if port and _free(addresses, port, probe):
            continue
        known = remembered.get(registry)
        if known and known.wanted == port and known.port not in taken and _free(addresses, known.port, probe):
            chosen = known.port
        else:
            chosen = _choose(addresses, taken, probe)
        taken.add(chosen)
        found.append(Substitute(registry, port, chosen, _held_by(port, probe)))
    return tuple(found)


def _free(addresses: Iterable[str], port: int, probe: PortProbe) -> bool:
    return all(probe.is_free(address, port) for address in addresses)


def _choose(addresses: tuple[str, ...], taken: set[int], probe: PortProbe) -> int:
    try:
        for _ in range(_ATTEMPTS):
            if (port := probe.pick_free(addresses)) not in taken:
                return port
    except OSError as problem:
        raise PortTaken(f"there is no free port on {', '.join(addresses)}", why=problem.strerror or "") from problem
    raise PortTaken(f"there is no free port on {', '.join(addresses)}")


def _held_by(port: int, probe: PortProbe) -> str:
    holder = probe.holder(port) if port else None
    return str(holder) if holder else ""


def as_it_is(known: Substitute, addresses: Sequence[str], probe: PortProbe) -> Substitute:
    """Look again which process holds the wanted port: the one that did when another was chosen may have ended."""
    if not known.wanted:
        return known
    free = _free(addresses, known.wanted, probe)
    return replace(known, holder="" if free else _held_by(known.wanted, probe), free=free)


def not_ours(known: Substitute, pid: int) -> Substitute:
    """Do not name our own engine, which may have the wanted port at another address of this machine."""
    return replace(known, holder="") if known.holder.endswith(f"(pid {pid})") else known


def recall(store: Path) -> dict[str, Substitute]:
    """Read what was remembered in a store; a file that is missing or spoilt remembers nothing."""
    try:
        listed = msgspec.json.decode(read(store / SUBSTITUTES), type=list[Substitute])
    except (OSError, msgspec.DecodeError):
        return {}
    possible = (one for one in listed if one.wanted in range(_PORTS) and one.port in range(1, _PORTS))
    return {substitute.registry: substitute for substitute in possible}


def remember(store: Path, substitutes: Sequence[Substitute]) -> None:
    """Write them down, in place of all others."""
    path = store / SUBSTITUTES
    find_ours(path)
    if not substitutes:
        path.unlink(missing_ok=True)
        return
    write_atomically(path, msgspec.json.format(msgspec.json.encode(list(substitutes))), READABLE_FILE)


LOOPBACK = ("127.0.0.1", "::1")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that stand for all, and how this machine reaches who listens there."""


def addresses_of(listeners: Iterable[Listener]) -> dict[str, str]:
    """The base address of each registry, by loopback if it is served there."""
    found: dict[str, str] = {}
    for listener in sorted(listeners, key=lambda one: one.address not in LOOPBACK):
        host = EVERYWHERE.get(listener.address, listener.address)
        found.setdefault(listener.registry, f"http://{bracketed(host)}:{listener.port}")
    return found
