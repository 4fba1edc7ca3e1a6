from __future__ import annotations

from obol.caches.ports import Running
from obol.caches.warming import Holding
from obol.client.ports import Silence
from obol.errors import EngineUnresponsive
from obol.stack.nocluster import CachesOnly
from obol.stack.plan import Choice
from tests.fakes.clock import FakeClock
from tests.unit.stack.world import LITELLM, PAUSE, FakeCaches, FakeWarmth, engine_status, failed, pulled

NOTHING = Choice("none")
IMAGES = (LITELLM, PAUSE)


def stack(caches: FakeCaches, warmth: FakeWarmth) -> CachesOnly:
    """A stack over these."""
    return CachesOnly(caches, warmth, FakeClock())


async def test_up() -> None:
    """The caches are started first, then every image is fetched through the engine that runs."""
    caches, warmth = FakeCaches(), FakeWarmth()

    brought = await stack(caches, warmth).up(NOTHING, IMAGES, Silence())

    assert caches.calls[0] == "start"
    assert warmth.engines == [brought.caches.status]
    assert [one.image for one in brought.images] == list(IMAGES)
    assert brought.complete
    assert (brought.caches.already, brought.saved) == (False, None)


async def test_up_with_an_image_missing() -> None:
    """An image that cannot be had is part of the result; the others are fetched all the same."""
    warmth = FakeWarmth({LITELLM.reference: failed(LITELLM)})

    brought = await stack(FakeCaches(), warmth).up(NOTHING, IMAGES, Silence())

    assert not brought.complete
    assert brought.images[0].outcome is warmth.outcomes[LITELLM.reference]
    assert brought.images[1].outcome == pulled(PAUSE, from_upstream=1 << 20)


async def test_up_again() -> None:
    """What came from the cache saved the time that its upstream would have taken at the speed that was measured."""
    warmth = FakeWarmth(holds=Holding({"docker.io": 3_000_000}, 0))

    brought = await stack(FakeCaches(Running(engine_status())), warmth).up(NOTHING, IMAGES, Silence())

    assert brought.caches.already
    assert (brought.saved, brought.held) == (2.0, {"docker.io": 3_000_000})


async def test_up_for_the_first_time_saves_nothing() -> None:
    """A layer that one image of the first `up` has brought for another was not there before."""
    warmth = FakeWarmth({PAUSE.reference: pulled(PAUSE, from_cache=3_000_000)})

    brought = await stack(FakeCaches(Running(engine_status())), warmth).up(NOTHING, IMAGES, Silence())

    assert (brought.saved, brought.held, brought.short) == (None, {}, "")


async def test_too_little_room_is_told_before() -> None:
    """Where what is missing does not fit on the disk, that is said before anything is fetched."""
    warmth, told = FakeWarmth(holds=Holding({}, 1 << 60)), list[str]()

    def warn(text: str) -> None:
        assert warmth.asked == []
        told.append(text)

    brought = await stack(FakeCaches(), warmth).up(NOTHING, IMAGES, Silence(), warn)

    assert told == [brought.short]
    assert "OBOL_REGISTRY_CACHE_DIR" in brought.short


async def test_up_with_an_engine_that_falls_silent() -> None:
    """The images that were fetched are told although the engine no longer says how fast its upstreams were."""
    warmth = FakeWarmth(holds=Holding({"docker.io": 3_000_000}, 0))

    brought = await stack(FakeCaches(problem=EngineUnresponsive("hm")), warmth).up(NOTHING, IMAGES, Silence())

    assert (brought.complete, brought.saved) == (True, None)


async def test_status_of_nothing() -> None:
    """Where the caches do not run, nobody knows what they hold, and nothing is started to find out."""
    caches = FakeCaches()

    seen = await stack(caches, FakeWarmth()).status(IMAGES)

    assert seen.caches is None
    assert seen.held == ((LITELLM, None), (PAUSE, None))
    assert caches.calls == ["status"]


async def test_status() -> None:
    """The running caches are asked about each image."""
    warmth = FakeWarmth(holdings={PAUSE.reference: "complete"})

    seen = await stack(FakeCaches(Running(engine_status())), warmth).status(IMAGES)

    assert seen.caches is not None
    assert seen.held == ((LITELLM, "missing"), (PAUSE, "complete"))
