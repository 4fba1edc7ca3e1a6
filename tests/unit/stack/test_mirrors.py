from __future__ import annotations

from typing import TYPE_CHECKING

from obol.caches.ports import Started, Substitute
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


async def test_ports_that_are_taken(tmp_path: Path) -> None:
    """A cache on another port than the usual one is told of, with who has that; where any port would do, it is not."""
    taken = Substitute("docker.io", 54100, 54110, "nginx (pid 7)")
    unnamed = Substitute("ghcr.io", 54101, 54111, "")
    free = Substitute("quay.io", 54102, 54112, "", free=True)
    caches = HostCaches(FakeCaches(substitutes=(taken, unnamed, free, Substitute("x.io", 0, 5, ""))), tmp_path)

    again = "`obol cache stop` and `obol stack up` bring it back"
    assert (await caches.wire(await caches.start())).notes == (
        "Port 54100 is taken by nginx (pid 7): the cache of docker.io is on 54110.",
        "Port 54101 is taken: the cache of ghcr.io is on 54111.",
        f"The cache of quay.io is on port 54112; 54102 was taken, and is free again: {again}.",
    )


async def test_removing_stops_the_engine(tmp_path: Path) -> None:
    """The engine is stopped before its store goes."""
    engine = FakeCaches()

    assert await HostCaches(engine, tmp_path / "store").remove() == ()
    assert engine.calls == ["stop"]


async def test_no_networks() -> None:
    """There is nothing to free."""
    assert await NoNetworks().reclaim() == ()


async def test_nodes_that_are_told_once_ask_at_an_address_of_their_own(tmp_path: Path) -> None:
    """What they were given is known by that address; where it cannot be had, they ask where others do."""
    engine = FakeCaches(taken=frozenset({54100}))
    caches = HostCaches(engine, tmp_path / "store", apart="127.54.0.1")

    wired = await caches.wire(await caches.start())

    assert wired.own_addresses == {"127.54.0.1"}
    assert [mirror.endpoint for mirror in wired.mirrors] == ["http://127.0.0.1:54100"]
    engine.taken = frozenset()
    wired = await caches.wire(await caches.start())
    assert [mirror.endpoint for mirror in wired.mirrors] == ["http://127.54.0.1:54100"]
    assert "listen 127.54.0.1:54100" in engine.calls
