from __future__ import annotations

import pytest

from obol.caches.ports import Given, Running
from obol.errors import EngineUnresponsive, PortTaken
from obol.rendering.registries import Mirror
from obol.stack.measuring import Measurement
from tests.unit.stack.world import FakeCaches, engine_status

NOBODY: frozenset[str] = frozenset()
OWN = Given("127.0.0.1", 40000, "127.0.0.1", "docker.io", held=3_000_000, fetched=5)
FOREIGN = Given("127.0.0.1", 54100, "127.0.0.1", "docker.io", held=7, fetched=7)
NODE = Given("172.18.0.1", 54100, "172.18.0.2", "docker.io", held=11, fetched=0)


def engine(*given: Given) -> FakeCaches:
    """One that runs, and has given this."""
    return FakeCaches(Running(engine_status()), given=given)


async def test_own_ports_are_what_is_measured() -> None:
    """An `up` has a port of its own for each registry, and claims what was given there and nothing else."""
    caches = engine(OWN, FOREIGN)
    measurement = Measurement(caches)
    await measurement.open(["docker.io"])
    assert measurement.mirrors == (Mirror("docker.io", "http://127.0.0.1:40000"),)

    gained = await measurement.close(NOBODY, NOBODY)

    assert gained is not None
    assert (gained.from_cache, gained.from_upstream, gained.saved) == (3_000_000, 5, 2.0)
    assert await measurement.close(NOBODY, NOBODY) is None
    assert caches.calls.count("close account") == 1


async def test_nodes_are_known_by_their_addresses() -> None:
    """Where nodes share a port with others, they are known by their addresses, or by the one that they ask at."""
    for peers, addresses in ((frozenset({NODE.peer}), NOBODY), (NOBODY, frozenset({NODE.address}))):
        measurement = Measurement(engine(NODE, FOREIGN))
        await measurement.open([])
        gained = await measurement.close(peers, addresses)

        assert gained is not None
        assert (gained.from_cache, gained.from_upstream) == (11, 0)


async def test_what_cannot_be_told_is_not_claimed() -> None:
    """Nodes that are known by nothing, too many accounts, an older engine, a silent one: there is no figure."""
    unknown = Measurement(engine(OWN))
    await unknown.open([])
    assert await unknown.close(NOBODY, NOBODY) is None

    partial = engine(OWN)
    partial.whole = False
    for caches in (partial, *(FakeCaches(Running(engine_status()), refusing=one) for one in _REFUSALS)):
        measurement = Measurement(caches)
        await measurement.open(["docker.io"])
        assert await measurement.close(NOBODY, NOBODY) is None

    silent = engine(OWN)
    measurement = Measurement(silent)
    await measurement.open(["docker.io"])
    silent.problem = EngineUnresponsive("hm")
    assert await measurement.close(NOBODY, NOBODY) is None


_REFUSALS = (PortTaken("too many"), EngineUnresponsive("404 there is nothing at this path"))


@pytest.mark.parametrize("opened", [True, False])
async def test_an_engine_that_was_started_again_has_not_measured(opened: bool) -> None:
    """The new engine serves the same ports; what the first had counted is lost, and no part is told for the whole."""
    caches = engine(OWN)
    measurement = Measurement(caches)
    if opened:
        await measurement.open(["docker.io"])
    before = measurement.mirrors
    await measurement.reopen()

    assert measurement.mirrors == before
    assert await measurement.close(NOBODY, NOBODY) is None
    assert caches.calls.count("open account") == 2 * opened
