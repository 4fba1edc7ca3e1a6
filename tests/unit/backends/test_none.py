from pathlib import Path

import pytest

from obol.backends.none import NoBackend
from obol.backends.ports import ClusterSpec, Deployed, Step, Up
from obol.caches.builtin.process import Running
from obol.caches.warming import Holding
from obol.errors import EngineUnresponsive
from obol.stack.home import Home
from obol.stack.outcomes import UpOutcome, UpRequest
from tests.fakes.clock import FakeClock
from tests.unit.stack.world import (
    LITELLM,
    PAUSE,
    FakeCaches,
    FakeReporter,
    FakeWarmth,
    World,
    engine_status,
    failed,
    pulled,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A machine on which nothing can run."""
    return World(Home(tmp_path / "config"), engine=FakeCaches())


async def up(world: World) -> UpOutcome:
    """Bring up what there can be, from two images."""
    images = (LITELLM, PAUSE)
    return await world.on_none.up(UpRequest(None, world.home.config, (), images), world.reporter, FakeClock())


async def test_it_runs_nothing(tmp_path: Path) -> None:
    """There is never a cluster, and nothing is needed to start, stop and remove none; deploying is warming."""
    backend, spec = NoBackend(), ClusterSpec("", tmp_path, tmp_path, ())

    await backend.check()
    await backend.authorise()
    assert await backend.up(spec, Step(print)) == Up(created=False)
    assert await backend.state("") == "absent"
    assert await backend.apply(spec, (), Step(print)) == Deployed("")
    await backend.down("")
    await backend.purge("", images=True)


async def test_up(world: World) -> None:
    """The caches are started first, then every image is fetched through the engine that runs; no file is written."""
    outcome = await up(world)

    assert world.engine.calls[0] == "start"
    assert outcome.caches is not None
    assert world.warmth.engines == [outcome.caches.status]
    assert [one.image for one in outcome.images] == [LITELLM, PAUSE]
    assert (outcome.complete, outcome.cache_engine, outcome.identity) == (True, "builtin", None)
    assert outcome.gain is not None
    assert (outcome.caches.already, outcome.gain.saved) == (False, None)
    assert outcome.gain.registries == {"ghcr.io": (0, 1 << 20), "docker.io": (0, 1 << 20)}
    assert world.reporter.seen == []
    assert not world.home.config.exists()


async def test_up_with_an_image_missing(world: World) -> None:
    """An image that cannot be had is part of the result; the others are fetched all the same."""
    world.warmth = FakeWarmth({LITELLM.reference: failed(LITELLM)})

    outcome = await up(world)

    assert not outcome.complete
    assert outcome.failures == [world.warmth.outcomes[LITELLM.reference]]
    assert outcome.images[1].warmed == pulled(PAUSE, from_upstream=1 << 20)


async def test_up_again(world: World) -> None:
    """What came from the cache saved the time that its upstream would have taken at the speed that was measured."""
    world.warmth = FakeWarmth(holds=Holding({"docker.io": 3_000_000}, 0))
    world.engine.running = Running(engine_status())

    outcome = await up(world)

    assert outcome.caches is not None
    assert outcome.caches.already
    assert outcome.gain is not None
    assert (outcome.gain.saved, outcome.gain.registries["docker.io"]) == (2.0, (3_000_000, 1 << 20))


async def test_up_for_the_first_time_saves_nothing(world: World) -> None:
    """A layer that one image of the first `up` has brought for another was not there before."""
    world.warmth = FakeWarmth({PAUSE.reference: pulled(PAUSE, from_cache=3_000_000)})
    world.engine.running = Running(engine_status())

    outcome = await up(world)

    assert outcome.gain is not None
    assert (outcome.gain.saved, outcome.gain.from_cache, outcome.notes) == (None, 0, ())


async def test_too_little_room_is_told_before(world: World) -> None:
    """Where what is missing does not fit on the disk, that is said before anything is fetched."""
    world.warmth = FakeWarmth(holds=Holding({}, 1 << 60))

    class Hasty(FakeReporter):
        def warn(self, text: str) -> None:
            assert world.warmth.asked == []
            super().warn(text)

    world.reporter = Hasty()
    outcome = await up(world)

    assert tuple(world.reporter.warned) == outcome.notes
    assert "OBOL_REGISTRY_CACHE_DIR" in outcome.notes[0]


async def test_up_with_an_engine_that_falls_silent(world: World) -> None:
    """The images that were fetched are told although the engine no longer says how fast its upstreams were."""
    world.warmth = FakeWarmth(holds=Holding({"docker.io": 3_000_000}, 0))
    world.engine.problem = EngineUnresponsive("hm")

    outcome = await up(world)

    assert outcome.gain is not None
    assert (outcome.complete, outcome.gain.saved) == (True, None)


async def test_status(world: World) -> None:
    """The caches are asked about each image, if they run; nothing is started to find out."""
    nothing = await world.on_none.status(None, (LITELLM, PAUSE))
    assert (nothing.identity, nothing.state, nothing.caches) == (None, "absent", None)
    assert nothing.images == ((LITELLM, None), (PAUSE, None))
    assert world.engine.calls == ["status"]

    world.engine.running = Running(engine_status())
    world.warmth.holdings = {PAUSE.reference: "complete"}
    found = await world.on_none.status(None, (LITELLM, PAUSE))
    assert found.caches is not None
    assert found.images == ((LITELLM, "missing"), (PAUSE, "complete"))
