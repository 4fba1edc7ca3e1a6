import hashlib
import io
import tarfile
import zlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from obol.demo.images import QUARTER, SMALLEST_LAYER, STACK, Shape, archive, make, scaled
from obol.oci.manifests import parse_manifest
from obol.oci.references import ImageReference

SHAPE = Shape("ghcr.io/demo/app:1", (5_000, 300_000, 100))
NOBODY = list[int]().append


def test_the_shapes_are_those_of_a_stack() -> None:
    """A gateway of 20 layers with one of 85 MB, a monitor of 10, seven small images: 250 MB, from three registries."""
    shapes = {shape.reference: shape for shape in STACK}

    assert len(shapes) == 9
    assert len(shapes["ghcr.io/demo/litellm:1"].layers) == 20
    assert max(shapes["ghcr.io/demo/litellm:1"].layers) == 85_000_000
    assert len(shapes["quay.io/demo/prometheus:1"].layers) == 10
    assert 245e6 < QUARTER < 255e6
    assert {ImageReference.parse(reference).registry for reference in shapes} == {"docker.io", "quay.io", "ghcr.io"}


def test_scaling_keeps_the_shapes() -> None:
    """Fewer bytes, but as many layers, in the same proportions as far as a layer can be so small."""
    small = scaled(STACK, 10_000_000)

    assert [len(shape.layers) for shape in small] == [len(shape.layers) for shape in STACK]
    assert 9_900_000 < sum(shape.size for shape in small) < 10_200_000
    assert min(layer for shape in small for layer in shape.layers) == SMALLEST_LAYER
    assert scaled(STACK, QUARTER) == STACK


@settings(max_examples=30)
@given(st.integers(SMALLEST_LAYER, 40_000) | st.integers(4 * 1024**2 - 4_000, 4 * 1024**2 + 4_000))
def test_a_layer_is_an_archive_of_its_size(size: int) -> None:
    """A layer of any size is a tar archive of that size, in whole blocks, every file of which has content."""
    data = b"".join(archive("seed", size))

    assert len(data) == size // 512 * 512
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        members = opened.getmembers()
    assert all(member.isreg() and member.size > 0 for member in members)
    assert 1 <= len(members) <= 3


def test_a_layer_is_made_in_pieces() -> None:
    """However large a layer is, a mebibyte of it is in memory at a time."""
    assert max(map(len, archive("seed", 9_000_000))) <= 1024**2


def test_a_layer_does_not_compress() -> None:
    """What is said to be so many bytes is not fewer to anybody who compresses."""
    data = b"".join(archive("seed", 1_000_000))

    assert len(zlib.compress(data)) > 0.99 * len(data)
    assert b"".join(archive("seed", 1_000_000)) == data
    assert b"".join(archive("another", 1_000_000)) != data


def test_an_image(tmp_path: Path) -> None:
    """The tag names an index, the index a manifest, the manifest a config and layers whose digests are right."""
    told: list[int] = []

    collection = make([SHAPE], tmp_path, told.append)

    image = ImageReference.parse(SHAPE.reference)
    assert image.tag is not None
    tagged = collection.documents[image.repository, image.tag]
    index = parse_manifest(tagged.body, tagged.media_type)
    child = collection.documents[image.repository, index.manifests[0].digest]
    manifest = parse_manifest(child.body, child.media_type)
    assert index.manifests[0].size == len(child.body)
    assert [layer.size for layer in manifest.blobs[1:]] == [4_608, 299_520, 2_048]
    for blob in manifest.blobs:
        content = collection.path(blob.digest).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob.digest
        assert len(content) == blob.size == collection.blobs[image.repository, blob.digest]
    assert told == [5_000, 300_000, 100]


def test_images_are_the_same_everywhere(tmp_path: Path) -> None:
    """Made anew, an image has the digest that it had."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert make([SHAPE], tmp_path / "a", NOBODY).documents == make([SHAPE], tmp_path / "b", NOBODY).documents
