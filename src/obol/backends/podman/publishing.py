"""Which ports of this machine lead to the stack's workloads: those that people know, where they are free."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.errors import PortTaken, noted
from obol.machine.docker.errors import ports_named
from obol.rendering.names import LOOPBACK

if TYPE_CHECKING:
    from obol.machine.ports import PortProbe
    from obol.rendering.podman import Port


ATTEMPTS = 5
"""How often workloads are started, each time on other ports."""


@dataclass(frozen=True, slots=True)
class HeldPort:
    """The port of this machine that a workload was given before."""

    port: int
    runs: bool
    """It is in use by that very workload."""


@dataclass(frozen=True, slots=True)
class Published:
    """What was chosen."""

    ports: Mapping[Port, int]
    notes: tuple[str, ...]
    """Ports that are not the usual ones, a sentence each."""


def publish(
    wanted: Iterable[Port], held: Mapping[Port, HeldPort], ports: PortProbe, refused: Collection[int] = ()
) -> Published:
    """Choose: a workload that runs keeps its port; then comes the port's own number, then the earlier one, then any.

    Those that the runtime has `refused` are not tried again, though they may look free. Raises OSError where none is.
    """
    chosen: dict[Port, int] = {}
    notes = []
    for port in wanted:
        before = held.get(port)
        if before is not None and before.runs:
            chosen[port] = before.port
            continue
        candidates = (port.number, before.port) if before is not None else (port.number,)
        taken = {*chosen.values(), *refused}
        free = (one for one in candidates if one not in taken and ports.is_free(LOOPBACK, one))
        chosen[port] = next(free, 0) or ports.pick_free((LOOPBACK,))
        if chosen[port] not in candidates:
            holder = ports.holder(port.number)
            by = f" by {holder}" if holder else ""
            back = f"Once {port.number} is free, `obol stack down` and `obol stack up` bring {port.workload} back to it"
            notes.append(f"Port {port.number} is taken{by}: {port.workload} answers on {chosen[port]} instead. {back}.")
    return Published(chosen, tuple(notes))


async def on_free_ports(
    choose: Callable[[Collection[int]], Awaitable[Published]], use: Callable[[Published], Awaitable[None]]
) -> Published:
    """Choose ports and use them, once more on others where one is taken in between. Raises what both raise."""
    refused: frozenset[int] = frozenset()
    for left in reversed(range(ATTEMPTS)):
        published = await choose(refused)
        try:
            with noted(published.notes):
                await use(published)
        except PortTaken as problem:
            if not left:
                raise
            ports = frozenset(published.ports.values())
            # Where the runtime does not say which, none of them is tried again.
            refused |= (ports_named(problem.why) & ports) or ports
        else:
            break
    return published
