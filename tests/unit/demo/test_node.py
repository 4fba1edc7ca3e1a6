from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.client.ports import PullFailed
from obol.demo.scenario import pull_set
from obol.oci.references import ImageReference
from tests.fakes.clock import FakeClock
from tests.unit.demo.conftest import SHAPES

if TYPE_CHECKING:
    from obol.demo.origin import OriginServer

REFERENCES = tuple(ImageReference.parse(shape.reference) for shape in SHAPES)


def registries(origin: OriginServer) -> dict[str, str]:
    """Where both registries of the set are."""
    return dict.fromkeys(("ghcr.io", "quay.io"), f"http://127.0.0.1:{origin.port}")


async def test_a_set_is_pulled(origin: OriginServer) -> None:
    """A node gets every byte of every image, tells of them as they come, and knows that no cache had them."""
    moved: list[int] = []

    pulled = await pull_set(REFERENCES, registries(origin), moved.append)

    assert [image.reference for image in pulled.images] == list(REFERENCES)
    assert [image.layers for image in pulled.images] == [2, 1]
    assert [image.platforms for image in pulled.images] == [("linux/amd64",), ("linux/amd64",)]
    assert sum(moved) == origin.sent == sum(image.bytes_total for image in pulled.images)
    assert pulled.bytes_from_cache == 0
    assert pulled.seconds > 0


async def test_time_is_measured_by_the_clock(origin: OriginServer) -> None:
    """The seconds are those of the clock that was given."""
    assert (await pull_set(REFERENCES, registries(origin), lambda _: None, FakeClock())).seconds == 0.0


async def test_an_image_that_fails(origin: OriginServer) -> None:
    """An image that cannot be pulled ends the whole, with the client's own error."""
    missing = ImageReference.parse("ghcr.io/demo/none:1")

    with pytest.raises(PullFailed, match="demo/none:1") as failed:
        await pull_set((*REFERENCES, missing), registries(origin), lambda _: None)

    assert failed.value.reference == missing
