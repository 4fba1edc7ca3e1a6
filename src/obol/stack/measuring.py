"""What the caches give to the nodes of one `up`: an account, opened before anything is fetched and closed at its end.

The measurement claims nothing that it cannot tell: not where too many measure at once, where the engine is older than
this command or was started again meanwhile, or where nodes cannot be told from other clients. What the latest cold `up`
of this machine took is kept in the store: it outlives a stack, and goes with the caches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from obol.errors import ObolError
from obol.machine.ports import bracketed
from obol.machine.regular import read, write_atomically
from obol.registry.control.api import Listener
from obol.registry.store.layout import COLD_UPS
from obol.rendering.names import LOOPBACK
from obol.rendering.registries import Mirror
from obol.stack.plan import ColdUp, Own, cold_up, gain, held_against

if TYPE_CHECKING:
    from obol.backends.ports import BackendName
    from obol.caches.builtin.process import BuiltinEngine
    from obol.registry.control.api import AccountStatus, EngineStatus
    from obol.stack.plan import Gain


class Measurement:
    """The account of one `up`."""

    def __init__(self, engine: BuiltinEngine) -> None:
        self._engine = engine
        self._account: AccountStatus | None = None
        self._broken = False

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """Where the account's own ports serve which registry."""
        listeners = self._account.listeners if self._account is not None else ()
        return tuple(Mirror(one.registry, f"http://{bracketed(one.address)}:{one.port}") for one in listeners)

    async def open(self, registries: Sequence[str]) -> None:
        """Begin, with a port of its own for each of these registries, if that can be."""
        await self._open([Listener(registry, LOOPBACK, 0) for registry in registries])

    async def reopen(self) -> None:
        """Have the same ports once more: the engine was started again, and has counted nothing."""
        self._broken = True
        if self._account is not None:
            await self._open(self._account.listeners)

    async def _open(self, listeners: Sequence[Listener]) -> None:
        with contextlib.suppress(ObolError):
            self._account = await asyncio.to_thread(self._engine.open_account, listeners)

    async def close(self, peers: frozenset[str], addresses: frozenset[str]) -> Gain | None:
        """End, and tell what was given to nodes; None where that was not measured. Closing twice is fine.

        Nodes are known by the account's own ports, or else by their addresses or by ours that only they ask at.
        """
        account, self._account = self._account, None
        if account is None:
            return None
        try:
            closed = await asyncio.to_thread(self._engine.close_account, account.name)
            running = await asyncio.to_thread(self._engine.status)
        except ObolError:
            return None
        if running is None or self._broken:
            return None
        ports = frozenset((one.address, one.port) for one in closed.listeners)
        return gain(closed, Own(ports, addresses, peers), throughput_of(running.status))


def throughput_of(status: EngineStatus) -> dict[str, float]:
    """What each upstream was measured at, in bytes a second."""
    return {upstream.registry: upstream.throughput for upstream in status.upstreams if upstream.throughput}


def weigh(store: Path, backend: BackendName, gained: Gain, seconds: float) -> Gain:
    """Hold an estimate against the latest cold `up` on this backend; where this `up` was cold, it is kept as that.

    A record that cannot be read or written is no reason to fail: then the estimate is all there is.
    """
    path = store / COLD_UPS
    records = _read(path)
    before = records.get(backend)
    if (latest := cold_up(gained, seconds, before)) is not None and latest != before:
        with contextlib.suppress(OSError):
            write_atomically(path, msgspec.json.encode({**records, backend: latest}))
    return held_against(gained, seconds, before)


def _read(path: Path) -> Mapping[str, ColdUp]:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        records = msgspec.json.decode(read(path), type=dict[str, ColdUp])
        return {backend: one for backend, one in records.items() if one.seconds > 0 and one.size > 0}
    return {}
