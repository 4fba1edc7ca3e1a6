from __future__ import annotations

from typing import TYPE_CHECKING

from obol.caches.base import Started
from obol.stack.mirrors import PUSHED, HostCaches, NoNetworks
from tests.unit.stack.world import FakeCaches, engine_status

if TYPE_CHECKING:
    from pathlib import Path


async def test_host_caches_are_reached_on_loopback(tmp_path: Path) -> None:
    """What pulls in this machine's network asks the listeners of the engine."""
    caches = HostCaches(FakeCaches(), tmp_path / "store")
    started = await caches.start()

    wired = await caches.wire(started)

    status = engine_status()
    assert [mirror.registry for mirror in wired.mirrors] == list(
        dict.fromkeys(one.registry for one in status.listeners)
    )
    assert all(mirror.endpoint.startswith("http://127.0.0.1:") for mirror in wired.mirrors)
    assert (await caches.wire(None)).mirrors == ()
    assert isinstance(started, Started)


async def test_a_registry_to_push_to_comes_last(tmp_path: Path) -> None:
    """What is pushed to this machine is looked for under its own name, beside what the engine serves."""
    caches = HostCaches(FakeCaches(), tmp_path / "store", push=(PUSHED,))

    wired = await caches.wire(await caches.start())

    assert wired.mirrors[-1] == PUSHED
    assert wired.mirrors[:-1]


async def test_removing_stops_the_engine(tmp_path: Path) -> None:
    """The engine is stopped before its store goes."""
    engine = FakeCaches()

    assert await HostCaches(engine, tmp_path / "store").remove() == ()
    assert engine.calls == ["stop"]


async def test_no_networks() -> None:
    """There is nothing to free."""
    assert await NoNetworks().reclaim() == ()
