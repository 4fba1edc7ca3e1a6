from pathlib import Path

import pytest

from obol.backends.ports import ClusterSpec, Step, Up
from obol.caches.builtin.process import Running
from obol.errors import EngineUnresponsive, PortTaken
from obol.registry.control.api import Given
from obol.registry.store.layout import COLD_UPS
from obol.rendering.registries import Mirror
from obol.stack.home import Home
from obol.stack.measuring import Measurement, weigh
from obol.stack.plan import Gain
from tests.fakes.clock import FakeClock
from tests.unit.stack.world import WHO, FakeBackend, FakeCaches, World, engine_status

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


COLD, WARM = Gain(0, 700), Gain(700, 0, 25.0)


def test_a_warm_up_is_held_against_the_cold_one(tmp_path: Path) -> None:
    """The record stays over any number of later ups, a small cold one among them."""
    assert weigh(tmp_path, "podman", COLD, 71.0) == COLD
    assert weigh(tmp_path, "podman", WARM, 75.0).saved == 0.0
    assert weigh(tmp_path, "podman", Gain(0, 3), 4.0) == Gain(0, 3)

    assert weigh(tmp_path, "podman", WARM, 61.0).saved == 10.0


def test_backends_are_told_apart(tmp_path: Path) -> None:
    """An up on another backend says nothing, and its record is kept beside."""
    weigh(tmp_path, "podman", COLD, 71.0)
    assert weigh(tmp_path, "k3d", WARM, 75.0).saved == 25.0

    weigh(tmp_path, "k3d", COLD, 90.0)

    assert weigh(tmp_path, "k3d", WARM, 75.0).saved == 15.0
    assert weigh(tmp_path, "podman", WARM, 75.0).saved == 0.0


@pytest.mark.parametrize("text", ["{", "[]", '{"podman": {"seconds": 0, "size": 0}}', '{"podman": {"seconds": -1}}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    """What the record does not tell is not held against an estimate, and the next cold up makes it anew."""
    (tmp_path / COLD_UPS).write_text(text)

    assert weigh(tmp_path, "podman", WARM, 75.0).saved == 25.0
    weigh(tmp_path, "podman", COLD, 71.0)
    assert weigh(tmp_path, "podman", WARM, 75.0).saved == 0.0


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    """Where there is no store, nothing is made, and the up goes on."""
    assert weigh(tmp_path / "none", "podman", COLD, 71.0) == COLD
    assert not (tmp_path / "none").exists()


class SlowBackend(FakeBackend):
    """A cluster that takes its time."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._clock, self._seconds = clock, seconds

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        self._clock.advance(self._seconds)
        return await super().up(spec, step)


async def test_a_warm_up_that_took_longer_claims_nothing(tmp_path: Path) -> None:
    """An up holds its estimate against the cold up, also after a purge, and records what it tells."""
    clock, world = FakeClock(), World(Home(tmp_path / "config"))
    world.home.establish(WHO)
    world.caches.store = tmp_path
    at = Given("127.0.0.1", 40000, "127.0.0.1", "docker.io", held=0, fetched=3_000_000)

    async def up(seconds: float, given: Given) -> float | None:
        world.backend, world.engine.given = SlowBackend(clock, seconds), (given,)
        raised = await world.stack.up(world.wanted(), world.reporter, clock)
        last = world.home.last_up()
        assert last is not None
        assert last.gain == raised.gain
        return raised.gain.saved if raised.gain is not None else None

    held = Given(at.address, at.port, at.peer, at.registry, held=3_000_000, fetched=0)
    assert await up(71.0, at) is None
    await world.stack.purge(WHO, world.reporter, images=True, caches=False)

    assert [await up(75.0, held), await up(70.0, held)] == [0.0, 1.0]
