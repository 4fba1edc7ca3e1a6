from __future__ import annotations

from dataclasses import replace

import pytest

from obol.caches.ports import Running
from obol.client.ports import Kind
from obol.errors import EngineUnresponsive, ObolError
from obol.stack.reasons import explained
from tests.unit.stack.world import LITELLM, PAUSE, FakeCaches, FakeWarmth, engine_status, failed

IMAGES = (LITELLM.reference, PAUSE.reference)
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
