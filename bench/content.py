"""What the origin holds: one image of one layer, one of five, the stack in several sizes, and one huge sparse blob."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from obol.demo.images import QUARTER, STACK, Collection, Shape, make, scaled
from obol.oci.references import Digest, ImageReference, Repository

MIB = 1 << 20
HUB = "docker.io"
LAYER, FIVE, HERD = f"{HUB}/bench/layer:1", f"{HUB}/bench/five:1", f"{HUB}/bench/herd:1"
_HUGE = Repository("bench/huge")


@dataclass(frozen=True, slots=True)
class BringUp:
    """A link in bits per second, and the bytes of the stack that is pulled over it."""

    rate: float
    size: int


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. All sizes in bytes; `runs` of each row, `bring_up_runs` of the bring-ups."""

    runs: int
    layer: int
    five: tuple[int, ...]
    herd: int
    huge: int
    herds: tuple[int, ...]
    stores: tuple[int, ...]
    images: int
    """How many of the stack's images are pulled, in the order in which a node meets them."""
    bring_ups: tuple[BringUp, ...]
    bring_up_runs: int
    warm_runs: int
    """More and shorter ones: throughput over loopback differs by a fifth between two that follow each other."""
    rate_seconds: int
    """For how long requests per second are counted."""
    volume: int
    """Bytes that are read at least for one measurement of throughput."""
    read_seconds: float
    """For how long a measurement of throughput goes on at least."""
    crowd_seconds: float
    """For how long many clients read the huge blob."""


FULL = Scale(
    runs=5,
    layer=128 * MIB,
    five=(MIB, 4 * MIB, 16 * MIB, 32 * MIB, 64 * MIB),
    herd=16 * MIB,
    huge=2048 * MIB,
    herds=(1, 16, 64),
    stores=(100, 10_000, 100_000),
    images=len(STACK),
    bring_ups=(BringUp(50e6, QUARTER // 32), BringUp(200e6, QUARTER // 12), BringUp(1e9, QUARTER // 4)),
    bring_up_runs=2,
    warm_runs=9,
    rate_seconds=2,
    volume=256 * MIB,
    read_seconds=0.6,
    crowd_seconds=8.0,
)
QUICK = Scale(
    runs=1,
    layer=16 * MIB,
    five=(MIB, 2 * MIB, 4 * MIB, 4 * MIB, 8 * MIB),
    herd=8 * MIB,
    huge=64 * MIB,
    herds=(1, 16),
    stores=(100, 1_000),
    images=2,
    bring_ups=(BringUp(1e9, QUARTER // 64),),
    bring_up_runs=1,
    warm_runs=1,
    rate_seconds=1,
    volume=64 * MIB,
    read_seconds=0.1,
    crowd_seconds=1.0,
)


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in the repository that it is pulled from."""

    repository: Repository
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Content:
    """All of it, with the references of the stack for each link's rate."""

    collection: Collection
    huge: Blob
    stacks: dict[float, tuple[ImageReference, ...]]

    def layers(self, reference: str) -> tuple[Blob, ...]:
        """The layers of an image, in order."""
        image = ImageReference.parse(reference)
        assert image.tag is not None
        documents = self.collection.documents
        index = json.loads(documents[image.repository, image.tag].body)
        manifest = json.loads(documents[image.repository, Digest(index["manifests"][0]["digest"])].body)
        return tuple(Blob(image.repository, Digest(one["digest"]), one["size"]) for one in manifest["layers"])


def make_content(folder: Path, scale: Scale) -> Content:
    """Write everything into `folder`. Raises OSError."""
    shapes = [Shape(LAYER, (scale.layer,)), Shape(FIVE, scale.five), Shape(HERD, (scale.herd,))]
    stacks: dict[float, tuple[ImageReference, ...]] = {}
    for one in scale.bring_ups:
        # The tag makes other bytes of the same shape, so no cache knows a layer from another link's stack.
        stack = [
            Shape(shape.reference.replace(":1", f":{one.rate:.0f}"), shape.layers)
            for shape in scaled(STACK[: scale.images], one.size)
        ]
        stacks[one.rate] = tuple(ImageReference.parse(shape.reference) for shape in stack)
        shapes += stack
    collection = make(shapes, folder, lambda _: None)
    huge = _sparse(collection, scale.huge)
    collection.blobs[huge.repository, huge.digest] = huge.size
    return Content(collection, huge, stacks)


def _sparse(collection: Collection, size: int) -> Blob:
    """Make a blob of zeros, which takes no room on the disk."""
    hashed, piece = hashlib.sha256(), bytes(MIB)
    for _ in range(size // MIB):
        hashed.update(piece)
    digest = Digest(f"sha256:{hashed.hexdigest()}")
    with collection.path(digest).open("wb") as file:
        os.ftruncate(file.fileno(), size)
    return Blob(_HUGE, digest, size)
