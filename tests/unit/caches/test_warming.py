from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from obol.caches.builtin.process import BuiltinEngine, Running
from obol.caches.warming import Holding, Warming
from obol.client.platforms import Selection
from obol.client.ports import Kind, Limits, Progress, PulledImage, PullFailed, Silence
from obol.errors import EngineNotRunning
from obol.oci.manifests import Platform
from obol.oci.references import ImageReference
from obol.registry.control.api import Amount, EngineStatus, HeldImage, HeldPlatform, Inventory, Listener
from tests.fakes.clock import FakeClock
from tests.fakes.content import make_image
from tests.fakes.registry import FakeRegistry

LIMITS = Limits(images=2, connect=0.5, manifest=0.5, headers=0.5, idle=0.5, attempts=1)
AMD64 = (Platform("linux", "amd64"),)
IMAGE = make_image(2000, platforms=("linux/amd64", "linux/arm64"))
APP, OTHER, ABSENT, FOREIGN = map(
    ImageReference.parse, ("docker.io/team/app:1", "docker.io/team/other:1", "docker.io/team/nope:1", "quay.io/a/b:1")
)


def status(*listeners: Listener, fills: int = 0) -> EngineStatus:
    """What a running cache says."""
    return EngineStatus("0", 1, "/s", 0.0, False, listeners, Amount(0, 0), Amount(0, 0), (), fills)


def held(reference: ImageReference, *states: str, digest: str = IMAGE.top, names: tuple[str, ...] = ()) -> HeldImage:
    """An image of which two platforms (or those with these names) are there, or not."""
    platforms = tuple(
        HeldPlatform(name, child, state, 1, 0, 0)  # type: ignore[arg-type]  # one of the three
        for name, child, state in zip(names or ("linux/amd64", "linux/arm64"), IMAGE.children, states, strict=False)
    )
    tags = (str(reference.tag),) if reference.tag else ()
    return HeldImage(reference.registry, reference.repository, tags, digest, False, 1, 0, 0, None, platforms)


@dataclass
class FakeCache(BuiltinEngine):
    """An engine that tells, each time it is asked, the next of what it is given; the last again and again."""

    inventories: list[Inventory] = field(default_factory=list)
    fills: list[int] = field(default_factory=list)

    def status(self) -> Running | None:
        """Tell how many blobs are on their way."""
        return Running(status(fills=self.fills.pop(0) if self.fills else 0))

    def images(self) -> Inventory:
        if not self.inventories:
            raise EngineNotRunning("gone")
        return self.inventories.pop(0) if len(self.inventories) > 1 else self.inventories[0]


def complete(*references: ImageReference) -> Inventory:
    """All of these are there for amd64."""
    return Inventory(tuple(held(reference, "complete", "absent") for reference in references))


async def warm(
    registry: FakeRegistry,
    cache: FakeCache,
    *references: ImageReference,
    progress: Progress | None = None,
    clock: FakeClock | None = None,
) -> tuple[PulledImage | PullFailed, ...]:
    """Warm a cache whose listener is the fake registry."""
    warming = Warming(cache, AMD64, LIMITS, clock or FakeClock())
    engine = status(Listener("docker.io", "127.0.0.1", registry.port))
    return await warming.warm(references, engine, progress or Silence())


@pytest.fixture
async def served() -> FakeRegistry:
    """A registry with two images, not yet started."""
    registry = FakeRegistry()
    registry.add("team/app", "1", IMAGE)
    registry.add("team/other", "1", IMAGE)
    return registry


async def test_all_well(served: FakeRegistry) -> None:
    """Images come through the listener of their registry, which is told what it stands for."""
    async with served:
        outcomes = await warm(served, FakeCache([complete(APP, OTHER)]), APP, OTHER)

        assert {seen.query for seen in served.log} == {"ns=docker.io"}
    assert [type(outcome) for outcome in outcomes] == [PulledImage, PulledImage]
    assert [outcome.reference for outcome in outcomes] == [APP, OTHER]


async def test_some_fail(served: FakeRegistry) -> None:
    """One that fails stops no other, be it absent or of a registry that is not served; all are told in order."""
    told: list[PullFailed] = []

    class Listening(Silence):
        def failed(self, problem: PullFailed) -> None:
            told.append(problem)

    async with served:
        outcomes = await warm(served, FakeCache([complete(APP)]), FOREIGN, ABSENT, APP, progress=Listening())

    foreign, absent, app = outcomes
    assert isinstance(app, PulledImage)
    assert isinstance(foreign, PullFailed)
    assert isinstance(absent, PullFailed)
    assert (foreign.kind, absent.kind) == (Kind.NOT_SERVED, Kind.ABSENT)
    assert told == [foreign, absent]


async def test_not_kept(served: FakeRegistry) -> None:
    """An image that came through a cache whose disk is full is not called cached."""
    async with served:
        partly = Inventory((held(APP, "partial"), held(OTHER, "complete")))
        app, other = await warm(served, FakeCache([partly]), APP, OTHER)

    assert isinstance(app, PullFailed)
    assert (app.reference, app.kind) == (APP, Kind.NO_SPACE)
    assert isinstance(other, PulledImage)


async def test_what_is_not_kept_is_not_called_done(served: FakeRegistry) -> None:
    """An image is said to be there when the cache has it, and only then: nothing is taken back."""
    told: list[object] = []

    class Reports(Silence):
        def done(self, image: PulledImage) -> None:
            told.append(image)

        def failed(self, problem: PullFailed) -> None:
            told.append(problem)

    async with served:
        partly = Inventory((held(APP, "partial"), held(OTHER, "complete")))
        app, other = await warm(served, FakeCache([partly]), APP, OTHER, progress=Reports())

    assert sorted(map(str, told)) == sorted(map(str, (app, other)))


async def test_what_is_there_is_told_before_any_blob_is_asked_for(served: FakeRegistry) -> None:
    """What is there and what is missing is known by the manifests, which are read once; images without are left out."""
    partial = HeldPlatform("linux/amd64", IMAGE.children[0], "partial", 70, 1, 30)
    one, two = held(APP, "complete", "absent"), replace(held(OTHER), platforms=(partial,))
    told: list[Holding] = []

    def before(holding: Holding) -> None:
        assert served.count("GET", "/blobs/") == 0
        told.append(holding)

    async with served:
        engine = status(Listener("docker.io", "127.0.0.1", served.port))
        cache = FakeCache([Inventory((one, two)), complete(APP, OTHER)])
        warming = Warming(cache, AMD64, LIMITS, FakeClock())
        outcomes = await warming.warm((APP, OTHER, ABSENT, FOREIGN), engine, Silence(), before)

    assert told == [Holding({"docker.io": 1 + 40}, 30)]
    assert [isinstance(one, PulledImage) for one in outcomes] == [True, True, False, False]


async def test_a_cache_that_cannot_tell_what_is_there(served: FakeRegistry) -> None:
    """Nothing is told then, and the images are fetched all the same."""

    class Late(FakeCache):
        asked = 0

        def images(self) -> Inventory:
            self.asked += 1
            if self.asked == 1:
                raise EngineNotRunning("busy")
            return complete(APP)

    async with served:
        engine = status(Listener("docker.io", "127.0.0.1", served.port))
        warming = Warming(Late(), AMD64, LIMITS, FakeClock())
        (outcome,) = await warming.warm((APP,), engine, Silence(), lambda _holding: pytest.fail("told"))

    assert isinstance(outcome, PulledImage)


async def test_still_committing(served: FakeRegistry) -> None:
    """While the cache is still syncing what it received, it is given time."""
    clock = FakeClock()
    async with served:
        cache = FakeCache([Inventory(()), Inventory((held(APP, "partial"),)), complete(APP)], fills=[2, 1, 0])
        (outcome,) = await warm(served, cache, APP, clock=clock)

    assert isinstance(outcome, PulledImage)
    assert len(clock.sleeps) == 2


async def test_never_done(served: FakeRegistry) -> None:
    """A cache that is busy with other things for ever is not waited for as long."""
    clock = FakeClock()
    async with served:
        (outcome,) = await warm(served, FakeCache([Inventory(())], fills=[1] * 5000), APP, clock=clock)

    assert isinstance(outcome, PullFailed)
    assert 100 < sum(clock.sleeps) < 200


async def test_nothing_to_look_up(served: FakeRegistry) -> None:
    """Where nothing came through, the cache is not asked what it kept."""
    async with served:
        (outcome,) = await warm(served, FakeCache(), ABSENT)

    assert isinstance(outcome, PullFailed)


async def test_cache_gone(served: FakeRegistry) -> None:
    """A cache that has ended meanwhile is an error of its own."""
    async with served:
        with pytest.raises(EngineNotRunning):
            await warm(served, FakeCache(), APP)


ARM64 = (Platform("linux", "arm64"),)
BY_DIGEST = ImageReference.parse(f"docker.io/team/app@{IMAGE.top}")
BY_PLATFORM = ImageReference.parse(f"docker.io/team/app@{IMAGE.children[0]}")


@pytest.mark.parametrize(
    ("reference", "platforms", "images", "state"),
    [
        (APP, AMD64, [held(APP, "complete", "absent")], "complete"),
        (APP, ARM64, [held(APP, "complete", "absent")], "missing"),
        (APP, AMD64 + ARM64, [held(APP, "complete", "absent")], "incomplete"),
        (APP, None, [held(APP, "complete", "absent")], "incomplete"),
        (APP, None, [held(APP, "complete", "complete")], "complete"),
        (APP, AMD64, [held(APP, "partial", "complete")], "incomplete"),
        (APP, AMD64, [held(APP)], "missing"),
        (APP, AMD64, [], "missing"),
        (APP, AMD64, [held(OTHER, "complete")], "missing"),
        (APP, AMD64, [held(ImageReference.parse("docker.io/team/app:2"), "complete")], "missing"),
        (APP, AMD64, [held(ImageReference.parse("quay.io/team/app:1"), "complete")], "missing"),
        (APP, AMD64, [held(APP, "complete", names=("",))], "complete"),
        (APP, AMD64, [held(APP, "partial"), held(APP, "complete", digest=IMAGE.children[1])], "complete"),
        (BY_DIGEST, AMD64, [held(APP, "complete", "absent")], "complete"),
        (BY_DIGEST, AMD64, [held(APP, "complete", digest="sha256:00")], "missing"),
        (BY_PLATFORM, ARM64, [held(APP, "complete", "absent")], "complete"),
        (BY_PLATFORM, AMD64, [held(APP, "partial", "complete")], "incomplete"),
    ],
)
async def test_held(reference: ImageReference, platforms: Selection, images: list[HeldImage], state: str) -> None:
    """What is held of an image is told for the chosen platforms, by tag, by digest, or by the digest of a platform."""
    warming = Warming(FakeCache([Inventory(tuple(images))]), platforms)

    assert await warming.held([reference]) == {reference: state}
