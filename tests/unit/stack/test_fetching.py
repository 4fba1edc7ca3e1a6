from collections.abc import Collection, Sequence

import pytest
from msgspec.structs import replace

from obol.caches.builtin.process import Running
from obol.caches.warming import Holding
from obol.client.ports import Kind
from obol.errors import EngineUnresponsive, ObolError
from obol.stack.fetching import expected, explained, fetch_ahead
from obol.stack.home import LastUp
from obol.stack.reporter import Notes
from tests.unit.stack.world import (
    LITELLM,
    PAUSE,
    FakeBackend,
    FakeCaches,
    FakeReporter,
    FakeWarmth,
    engine_status,
    failed,
)

IMAGES = (LITELLM.reference, PAUSE.reference)


class Stocking(FakeBackend):
    """A backend that knows which images its nodes have."""

    has: frozenset[str] = frozenset()
    problem: ObolError | None = None

    async def lacking(self, stack_id: str, images: Sequence[str]) -> Collection[str]:
        """Tell, or raise `problem`."""
        assert stack_id == "brave-otter"
        if self.problem:
            raise self.problem
        return [image for image in images if image not in self.has]


async def ahead(backend: FakeBackend, warmth: FakeWarmth) -> list[str]:
    """Fetch, and give what was told."""
    steps, before = FakeReporter(), len(warmth.asked)
    await fetch_ahead(backend, "brave-otter", warmth, IMAGES, engine_status(), Notes(steps))
    assert (steps.expected or []) == [str(one) for asked in warmth.asked[before:] for one in asked]
    return steps.warned


def test_expected() -> None:
    """What the manifests need comes first, then what was pulled the last time; nonsense that was kept is left out."""
    last = LastUp(1.0, 1.0, ("quay.io/me/app:7", str(PAUSE.reference)))

    assert list(map(str, expected(IMAGES, last))) == [*map(str, IMAGES), "quay.io/me/app:7"]
    assert expected(IMAGES, None) == IMAGES
    assert expected(IMAGES, LastUp(1.0, 1.0, ("::",))) == IMAGES


async def test_all_are_fetched_where_nobody_knows_what_nodes_have() -> None:
    """A backend that cannot tell may ask for all of them."""
    warmth = FakeWarmth()

    assert await ahead(FakeBackend(), warmth) == []
    assert warmth.asked == [IMAGES]


async def test_what_nodes_have_is_not_fetched() -> None:
    """An image that no node will ask for is left alone, and with nothing left nothing is asked."""
    backend, warmth = Stocking(), FakeWarmth()
    backend.has = frozenset({str(LITELLM.reference)})
    await ahead(backend, warmth)
    assert warmth.asked == [[PAUSE.reference]]

    backend.has = frozenset(map(str, IMAGES))
    await ahead(backend, warmth)
    assert len(warmth.asked) == 1


async def test_too_little_room_is_told_before_anything_is_fetched() -> None:
    """What does not fit is said early."""
    (line,) = await ahead(FakeBackend(), FakeWarmth(holds=Holding({}, 1 << 60)))

    assert "OBOL_REGISTRY_CACHE_DIR" in line


async def test_trouble_shows_elsewhere() -> None:
    """What fails here shows where the images are used."""
    backend = Stocking()
    backend.problem = ObolError("kubectl does not answer")

    assert await ahead(backend, FakeWarmth()) == []


LONG = ObolError(f"{LITELLM.reference} cannot be pulled", why="x" * 400, hint="look at it")
UNREADY = ObolError("litellm is not ready", why="ImagePullBackOff")


def engine() -> FakeCaches:
    """One that runs, and knows what is wrong with ghcr.io."""
    status = engine_status()
    (hub,) = status.upstreams
    ghcr = replace(hub, registry="ghcr.io", health="failing", detail="Connection refused")
    return FakeCaches(Running(replace(status, upstreams=(hub, ghcr))))


async def test_the_caches_know_why() -> None:
    """What the caches know takes the place of what the runtime says, with what to do about it."""
    warmth = FakeWarmth({LITELLM.reference: failed(LITELLM, Kind.UPSTREAM_DOWN)}, {PAUSE.reference: "complete"})

    told = await explained(LONG, IMAGES, warmth, engine())

    assert (told.what, told.why, told.hint) == (LONG.what, "for a reason (Connection refused)", "do something")
    assert warmth.asked == [[LITELLM.reference]]


async def test_the_image_is_named_where_the_problem_does_not() -> None:
    """A workload that is not ready because its image cannot be had says which image."""
    warmth = FakeWarmth({PAUSE.reference: failed(PAUSE, Kind.DENIED)}, {LITELLM.reference: "complete"})

    told = await explained(UNREADY, IMAGES, warmth, engine())

    assert told.why == f"{PAUSE.reference} cannot be pulled: for a reason"


async def test_the_image_of_the_problem_comes_first() -> None:
    """Of several that cannot be had, the one that the problem is about is told."""
    warmth = FakeWarmth({one.reference: failed(one, Kind.DENIED) for one in (PAUSE, LITELLM)})

    told = await explained(LONG, (PAUSE.reference, LITELLM.reference), warmth, engine())

    assert (told.what, told.why) == (LONG.what, "for a reason")


@pytest.mark.parametrize("kind", [Kind.NO_SPACE, Kind.UNREACHABLE])
async def test_what_troubles_the_caches_alone_is_no_reason(kind: Kind) -> None:
    """A node is given what the caches cannot keep, so that is not why it has no image."""
    warmth = FakeWarmth({LITELLM.reference: failed(LITELLM, kind)})

    assert await explained(LONG, IMAGES, warmth, engine()) is LONG


async def test_caches_that_know_nothing_leave_the_problem_as_it_is() -> None:
    """Images that can be had, an engine that is gone or silent, and images that are all there are no reasons."""
    assert await explained(LONG, IMAGES, FakeWarmth(), engine()) is LONG
    assert await explained(LONG, IMAGES, FakeWarmth(), FakeCaches()) is LONG
    assert await explained(LONG, IMAGES, FakeWarmth(), FakeCaches(problem=EngineUnresponsive("hm"))) is LONG
    held = FakeWarmth(holdings=dict.fromkeys(IMAGES, "complete"))
    assert await explained(LONG, IMAGES, held, engine()) is LONG
    assert held.asked == []
