from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.caches.ports import Given
from obol.stack.coldups import COLD_UPS, weigh
from obol.stack.plan import Gain
from obol.stack.state import Home
from tests.fakes.clock import FakeClock
from tests.unit.stack.clusterworld import WHO, FakeBackend, World

if TYPE_CHECKING:
    from pathlib import Path

    from obol.backends.ports import ClusterSpec, Up, Watch

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

    async def up(self, spec: ClusterSpec, watch: Watch) -> Up:
        """Take as long as told."""
        self._clock.advance(self._seconds)
        return await super().up(spec, watch)


async def test_a_warm_up_that_took_longer_claims_nothing(tmp_path: Path) -> None:
    """An up holds its estimate against the cold up, also after a purge, and records what it tells."""
    clock, world = FakeClock(), World(Home(tmp_path / "config"))
    world.home.establish(WHO)
    world.caches.store = tmp_path
    at = Given("127.0.0.1", 40000, "127.0.0.1", "docker.io", held=0, fetched=3_000_000)

    async def up(seconds: float, given: Given) -> float | None:
        world.backend, world.engine.given = SlowBackend(clock, seconds), (given,)
        raised = await world.stack.up(world.wanted(), world.steps, clock)
        last = world.home.last_up()
        assert last is not None
        assert last.gain == raised.gain
        return raised.gain.saved if raised.gain is not None else None

    held = Given(at.address, at.port, at.peer, at.registry, held=3_000_000, fetched=0)
    assert await up(71.0, at) is None
    await world.stack.purge(WHO, world.steps, images=True, caches=False)

    assert [await up(75.0, held), await up(70.0, held)] == [0.0, 1.0]
