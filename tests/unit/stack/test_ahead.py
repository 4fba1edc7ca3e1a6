from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.caches.warming import Holding
from obol.errors import ObolError
from obol.stack.ahead import expected, fetch_ahead
from obol.stack.state import LastUp
from obol.stack.telling import Telling
from tests.unit.stack.clusterworld import FakeBackend, FakeSteps
from tests.unit.stack.world import LITELLM, PAUSE, FakeWarmth, engine_status

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    steps, before = FakeSteps(), len(warmth.asked)
    await fetch_ahead(backend, "brave-otter", warmth, IMAGES, engine_status(), Telling(steps))
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


@pytest.mark.parametrize("problem", [ObolError("kubectl does not answer")])
async def test_trouble_is_nobodys(problem: ObolError) -> None:
    """What fails here shows where the images are used."""
    backend = Stocking()
    backend.problem = problem

    assert await ahead(backend, FakeWarmth()) == []
