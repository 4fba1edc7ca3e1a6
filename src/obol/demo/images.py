"""Images in the shapes of a real stack's, made on the spot: nothing is downloaded, nothing is shipped.

The shapes are those of an LLM gateway like LiteLLM (20 layers, one of which is half of the image), a Prometheus (10
layers) and the seven small images that k3s brings along, at a quarter of their compressed sizes. Layers are real tar
archives of files that do not compress; the same shape gives the same bytes on every machine. They are made once, into
files: digests must be known before the first request, and making bytes costs too much to do it again for each of them.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from obol.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from obol.oci.references import Digest, ImageReference, Reference, Repository

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"

OS, ARCHITECTURE = "linux", "amd64"
"""What the images claim to run on; they are never run."""

SMALLEST_LAYER = 2048
"""Bytes: the header of a file, a block of it, and the two empty blocks that end an archive."""

_BLOCK = 512
_LARGEST_FILE = 4 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """An image to be: its reference, and the size of each layer in bytes, the lowest first."""

    reference: str
    layers: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(self.layers)


def _shape(reference: str, *kilobytes: int) -> Shape:
    return Shape(reference, tuple(size * 1000 for size in kilobytes))


STACK: tuple[Shape, ...] = (
    _shape("docker.io/demo/pause:1", 90),
    _shape("docker.io/demo/coredns:1", 800, 4_200),
    _shape("docker.io/demo/local-path-provisioner:1", 900, 700, 3_300),
    _shape("docker.io/demo/metrics-server:1", 700, 4_900),
    _shape("docker.io/demo/klipper-lb:1", 900, 500),
    _shape("docker.io/demo/klipper-helm:1", 900, 1_300, 9_800, 3_200, 300),
    _shape("docker.io/demo/traefik:1", 900, 300, 11_300, 10),
    _shape("quay.io/demo/prometheus:1", 500, 400, 13_600, 12_900, 200, 1_600, 700, 60, 20, 10),
    _shape(
        "ghcr.io/demo/litellm:1",
        *(7_200, 3_400, 12_600, 900, 40, 1_500, 28_000, 300, 20, 2_600, 85_000, 600, 16_500, 10, 9_400),
        *(150, 4_800, 60, 2_100, 10),
    ),
)
"""The images in the order in which a node meets them. Three registries, as in a real stack."""

QUARTER = sum(shape.size for shape in STACK)
"""Bytes of STACK: a quarter of what the real images weigh."""


def scaled(shapes: Sequence[Shape], size: int) -> tuple[Shape, ...]:
    """The same shapes with about `size` bytes in all. Layers stay at least SMALLEST_LAYER."""
    factor = size / sum(shape.size for shape in shapes)
    return tuple(
        Shape(shape.reference, tuple(max(SMALLEST_LAYER, round(layer * factor)) for layer in shape.layers))
        for shape in shapes
    )


@dataclass(frozen=True, slots=True)
class OriginManifest:
    """A manifest or an index as a registry keeps it."""

    media_type: str
    digest: Digest
    body: bytes


@dataclass(frozen=True, slots=True)
class Collection:
    """What an origin serves: documents by tag and digest, and the sizes of blobs whose bytes are in `folder`."""

    folder: Path
    documents: dict[tuple[Repository, Reference], OriginManifest]
    blobs: dict[tuple[Repository, Digest], int]

    def path(self, digest: Digest) -> Path:
        """The file of a blob."""
        return self.folder / digest.hex


def make(shapes: Iterable[Shape], folder: Path, made: Callable[[int], None]) -> Collection:
    """Make images of these shapes, their blobs as files in `folder`; `made` is told the bytes of each layer.

    Raises OSError where they cannot be written.
    """
    collection = Collection(folder, {}, {})
    for shape in shapes:
        _add(shape, collection, made)
    return collection


def _add(shape: Shape, collection: Collection, made: Callable[[int], None]) -> None:
    image = ImageReference.parse(shape.reference)
    layers = []
    for number, size in enumerate(shape.layers):
        layer = _keep(collection, image.repository, archive(f"{shape.reference} {number}", size))
        layers.append({"mediaType": OCI_LAYER, **layer})
        made(size)
    config = _render(
        {
            "os": OS,
            "architecture": ARCHITECTURE,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    kept = {"mediaType": OCI_CONFIG, **_keep(collection, image.repository, [config])}
    manifest = _document(OCI_MANIFEST, {"config": kept, "layers": layers})
    child = {
        "mediaType": OCI_MANIFEST,
        "digest": manifest.digest,
        "size": len(manifest.body),
        "platform": {"os": OS, "architecture": ARCHITECTURE},
    }
    index = _document(OCI_INDEX, {"manifests": [child]})
    for document in (manifest, index):
        collection.documents[image.repository, document.digest] = document
    if image.tag is not None:
        collection.documents[image.repository, image.tag] = index


def _keep(collection: Collection, repository: Repository, pieces: Iterable[bytes]) -> dict[str, str | int]:
    """Write a blob, whose digest is known only at its end; gives what a descriptor says of it."""
    hashed, size = hashlib.sha256(), 0
    unnamed = collection.folder / "unnamed"
    with unnamed.open("wb") as file:
        for piece in pieces:
            hashed.update(piece)
            size += file.write(piece)
    digest = Digest(f"sha256:{hashed.hexdigest()}")
    unnamed.rename(collection.path(digest))
    collection.blobs[repository, digest] = size
    return {"digest": digest, "size": size}


def _document(media_type: str, fields: dict[str, object]) -> OriginManifest:
    body = _render({"schemaVersion": 2, "mediaType": media_type, **fields})
    return OriginManifest(media_type, Digest.of(body), body)


def _render(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def archive(seed: str, size: int) -> Iterator[bytes]:
    """Yield a tar archive of `size` bytes, rounded down to whole blocks, in pieces of at most a mebibyte."""
    left = max(size, SMALLEST_LAYER) // _BLOCK * _BLOCK - 2 * _BLOCK
    number = 0
    while left > 0:
        content = min(_LARGEST_FILE, left - _BLOCK)
        if 0 < left - _BLOCK - content < 2 * _BLOCK:
            content -= 2 * _BLOCK  # or what is left would be too little for a file with anything in it
        entry = tarfile.TarInfo(f"opt/demo/{number:04}.bin")
        entry.size = content
        yield entry.tobuf(tarfile.USTAR_FORMAT)
        yield from _incompressible(f"{seed} {number}", content)
        left -= _BLOCK + content
        number += 1
    yield bytes(2 * _BLOCK)


def _incompressible(seed: str, size: int) -> Iterator[bytes]:
    for start in range(0, size, _CHUNK):
        # SHAKE gives the same bytes for the same seed in every version of Python; `random` promises less.
        yield hashlib.shake_128(f"{seed} {start}".encode()).digest(min(_CHUNK, size - start))
