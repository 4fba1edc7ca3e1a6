import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.errors import MANIFEST_INVALID, OciError
from obol.oci.manifests import MAX_MANIFEST, STEP, Descriptor, Manifest, Platform, parse_manifest, reading
from obol.oci.mediatypes import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
)
from obol.oci.references import Digest

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEXES = [OCI_INDEX, DOCKER_LIST]
IMAGES = [OCI_MANIFEST, DOCKER_MANIFEST]


def described(name: str, media_type: str = LAYER_TYPE, **more: object) -> dict[str, object]:
    """A descriptor of the text `name`, as JSON has it."""
    data = name.encode()
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data), **more}


def descriptor(name: str, media_type: str = LAYER_TYPE) -> Descriptor:
    """The same, as it is read."""
    return Descriptor(media_type, Digest.of(name.encode()), len(name))


CONFIG = described("config", CONFIG_TYPE)
IMAGE: dict[str, object] = {"schemaVersion": 2, "config": CONFIG, "layers": [described("one"), described("two")]}
INDEX: dict[str, object] = {"schemaVersion": 2, "manifests": [described("image", OCI_MANIFEST)]}


def read(document: object, content_type: str) -> Manifest:
    """Parse a document that is given as values."""
    return parse_manifest(json.dumps(document).encode(), content_type)


def refusal(body: bytes, content_type: str) -> str:
    """Why the body is refused."""
    with pytest.raises(OciError) as caught:
        parse_manifest(body, content_type)
    assert caught.value.kind is MANIFEST_INVALID
    return caught.value.detail


@pytest.mark.parametrize("media_type", IMAGES)
@pytest.mark.parametrize("own", [True, False])
def test_an_image(media_type: str, own: object) -> None:
    """An image refers to its config and its layers, in that order, whether or not it names its own type."""
    manifest = read({**IMAGE, **({"mediaType": media_type} if own else {})}, media_type)

    assert not manifest.is_index
    assert manifest.media_type == media_type
    assert manifest.manifests == ()
    assert manifest.blobs == (descriptor("config", CONFIG_TYPE), descriptor("one"), descriptor("two"))
    assert manifest.subject is None
    assert manifest.artifact_type == ""


@pytest.mark.parametrize("media_type", INDEXES)
def test_an_index(media_type: str) -> None:
    """An index refers to manifests, each perhaps for a platform."""
    children = [
        described("a", OCI_MANIFEST, platform={"os": "linux", "architecture": "arm", "variant": "v7", "features": []}),
        described("b", OCI_MANIFEST, platform={"os": "unknown", "architecture": "unknown"}, annotations={"k": "v"}),
        described("c", OCI_INDEX, platform=None, annotations=None),
        described("d", OCI_MANIFEST, platform={"os": None}),
    ]
    manifest = read({"schemaVersion": 2, "mediaType": media_type, "manifests": children}, media_type)

    assert manifest.is_index
    assert manifest.blobs == ()
    assert [child.digest for child in manifest.manifests] == [Digest.of(name) for name in (b"a", b"b", b"c", b"d")]
    assert manifest.manifests[0].platform == Platform("linux", "arm", "v7")
    assert manifest.manifests[1].platform == Platform("unknown", "unknown")
    assert manifest.manifests[2] == descriptor("c", OCI_INDEX)
    assert manifest.manifests[3].platform == Platform("", "")


@pytest.mark.parametrize(("document", "media_type"), [(IMAGE, OCI_MANIFEST), (INDEX, OCI_INDEX)])
def test_an_artifact(document: dict[str, object], media_type: str) -> None:
    """Subject and artifact type are read of both kinds."""
    more = {
        "subject": described("s", OCI_MANIFEST),
        "artifactType": "application/x",
        "annotations": {"a": "1", "b": ""},
    }
    manifest = read({**document, **more}, media_type)

    assert manifest.subject == descriptor("s", OCI_MANIFEST)
    assert manifest.artifact_type == "application/x"


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"manifests": []}, OCI_INDEX),
        ({"manifests": None}, OCI_INDEX),
        ({"manifests": None, "config": None, "layers": None}, DOCKER_LIST),
        ({"schemaVersion": 2, "manifests": [], "annotations": None, "subject": None}, OCI_INDEX),
    ],
)
def test_an_empty_index(document: dict[str, object], media_type: str) -> None:
    """An index may be empty; Go programs write that as null."""
    assert read(document, media_type).manifests == ()


@pytest.mark.parametrize("layers", [{}, {"layers": []}, {"layers": None}, {"layers": None, "manifests": None}])
def test_an_image_without_layers(layers: dict[str, object]) -> None:
    """An image may have a config alone."""
    assert read({"config": CONFIG, **layers}, OCI_MANIFEST).blobs == (descriptor("config", CONFIG_TYPE),)


def test_five_thousand_layers() -> None:
    """An image may have thousands of layers."""
    manifest = read({**IMAGE, "layers": [described(str(number)) for number in range(5000)]}, OCI_MANIFEST)

    assert len(manifest.blobs) == 5001


def test_unknown_fields_and_foreign_layers() -> None:
    """Fields of others are passed over, and a layer with addresses of its own is a blob like any other."""
    layer = described("f", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://x.test/f"])
    manifest = read({**IMAGE, "layers": [{**layer, "data": "Zg==", "x": [1]}], "y": {"z": [None]}}, DOCKER_MANIFEST)

    assert manifest.blobs[1].digest == Digest.of(b"f")


def test_a_descriptor_without_media_type() -> None:
    """Nothing here depends on the type of a blob, so it may be missing."""
    manifest = read({"config": {"digest": str(Digest.of(b"")), "size": 0}}, OCI_MANIFEST)

    assert manifest.blobs == (Descriptor("", Digest.of(b""), 0),)


def test_a_long_digest() -> None:
    """A descriptor may use sha512."""
    digest = Digest.of(b"x", "sha512")

    assert read({"config": {"digest": digest, "size": 1}}, OCI_MANIFEST).blobs[0].digest == digest


def test_parameters_of_the_content_type_do_not_matter() -> None:
    """The type served is the bare one."""
    assert read(IMAGE, f"{OCI_MANIFEST}; charset=utf-8").media_type == OCI_MANIFEST


@pytest.mark.parametrize("vague", ["", "text/plain", "text/plain; charset=utf-8", "application/json"])
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({**IMAGE, "mediaType": DOCKER_MANIFEST}, DOCKER_MANIFEST),
        ({**IMAGE, "mediaType": OCI_MANIFEST}, OCI_MANIFEST),
        ({**INDEX, "mediaType": DOCKER_LIST}, DOCKER_LIST),
        ({**INDEX, "mediaType": OCI_INDEX}, OCI_INDEX),
        (IMAGE, OCI_MANIFEST),
        (INDEX, OCI_INDEX),
    ],
)
def test_a_vague_content_type(vague: str, document: dict[str, object], expected: str) -> None:
    """A type that says nothing is replaced by the document's own word or, without one, by its shape."""
    assert read(document, vague).media_type == expected


@pytest.mark.parametrize("vague", ["", "text/plain", "application/json"])
@pytest.mark.parametrize(
    "document",
    [
        {},
        {"message": "not found"},
        {"errors": [{"code": "DENIED"}]},
        {"layers": [described("one")]},
        {**IMAGE, "mediaType": "application/vnd.oci.artifact.manifest.v1+json"},
        {**IMAGE, "mediaType": DOCKER_SCHEMA1},
        {**IMAGE, "mediaType": "text/html"},
        {**IMAGE, **INDEX},
    ],
)
def test_a_vague_content_type_and_no_manifest(vague: str, document: dict[str, object]) -> None:
    """A document that is no manifest by its own word or shape is refused: it may be an error page."""
    assert refusal(json.dumps(document).encode(), vague)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "text/html; charset=utf-8",
        "application/octet-stream",
        "application/vnd.oci.artifact.manifest.v1+json",
        CONFIG_TYPE,
        "*/*",
        "nonsense",
    ],
)
def test_other_content_types_are_refused(content_type: str) -> None:
    """What is served as something else is not taken for a manifest, whatever it holds."""
    assert "not a manifest" in refusal(json.dumps(IMAGE).encode(), content_type)


@pytest.mark.parametrize("content_type", [DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED])
def test_schema_1_is_refused_by_type(content_type: str) -> None:
    """Schema 1 is told as such."""
    assert "schema 1" in refusal(b'{"schemaVersion":1}', content_type)


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 1, "fsLayers": []},
        {"schemaVersion": 3},
        {**IMAGE, "schemaVersion": 1},
        {**IMAGE, "fsLayers": 1},
    ],
)
@pytest.mark.parametrize("content_type", [OCI_MANIFEST, DOCKER_LIST, "application/json"])
def test_schema_1_is_refused_by_content(document: dict[str, object], content_type: str) -> None:
    """Schema 1 in the clothes of another type is refused too."""
    assert "schema version 2" in refusal(json.dumps(document).encode(), content_type)


@pytest.mark.parametrize("content_type", sorted(MANIFEST_TYPES))
@pytest.mark.parametrize("own", [*sorted(MANIFEST_TYPES), "application/x"])
def test_a_document_is_what_it_is_served_as(content_type: str, own: str) -> None:
    """A document that calls itself something else than the Content-Type does is refused."""
    document = {**(INDEX if content_type in INDEXES else IMAGE), "mediaType": own}

    if own == content_type:
        assert read(document, content_type).media_type == own
    else:
        assert "calls itself" in refusal(json.dumps(document).encode(), content_type)


@pytest.mark.parametrize("content_type", INDEXES)
@pytest.mark.parametrize(
    "document",
    [
        {**INDEX, "layers": []},
        {**INDEX, "layers": [described("x")]},
        {**INDEX, "config": CONFIG},
        {**INDEX, **IMAGE},
        IMAGE,
        {},
        {"errors": []},
    ],
)
def test_what_is_no_index(document: dict[str, object], content_type: str) -> None:
    """An index has manifests and nothing of an image."""
    assert "not an index" in refusal(json.dumps(document).encode(), content_type)


@pytest.mark.parametrize("content_type", IMAGES)
@pytest.mark.parametrize(
    "document",
    [
        {**IMAGE, "manifests": []},
        {**IMAGE, **INDEX},
        INDEX,
        {},
        {"layers": [described("x")]},
        {**IMAGE, "config": None},
        {"errors": []},
    ],
)
def test_what_is_no_image(document: dict[str, object], content_type: str) -> None:
    """An image has a config and nothing of an index."""
    assert "not an image" in refusal(json.dumps(document).encode(), content_type)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": -1},
        {"size": None},
        {"size": "1"},
        {"size": 1.5},
        {"size": 2**63},
        {"size": 10**30},
        {"digest": None},
        {"digest": ""},
        {"digest": "sha256:../../etc"},
        {"digest": f"sha384:{'0' * 96}"},
        {"digest": f"sha256:{'A' * 64}"},
        {"mediaType": 1},
        {"platform": []},
    ],
)
def test_bad_descriptors(bad: dict[str, object]) -> None:
    """A negative or absurd size, an unknown algorithm and a field of the wrong type are refused everywhere."""
    wrong = {**described("x"), **bad}
    refusal(json.dumps({**IMAGE, "layers": [wrong]}).encode(), OCI_MANIFEST)
    refusal(json.dumps({"config": wrong}).encode(), DOCKER_MANIFEST)
    refusal(json.dumps({"manifests": [wrong]}).encode(), OCI_INDEX)

    assert refusal(json.dumps({**INDEX, "subject": wrong}).encode(), OCI_INDEX)


NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"manifest"',
        b"<!DOCTYPE html><html></html>",
        b"{",
        b'\xef\xbb\xbf{"manifests":[]}',
        b'{"manifests":[],"mediaType":"\xff"}',
        b'{"manifests":[],"\xff":1,}',
        b'{"manifests":[],"mediaType":"\\ud800"}',
        b'{"manifests":[],"schemaVersion":NaN}',
        b'{"manifests":[],"x":NaN}',
        b'{"manifests":[],"x":Infinity}',
        b'{"manifests":[],"schemaVersion":' + b"9" * 100_000 + b"}",
        b'{"manifests":[],"schemaVersion":1e999}',
        b'{"manifests":' + NESTED + b"}",
        b'{"manifests":[],"x":' + NESTED + b"}",
        b'{"manifests":[],"x":' + b'{"a":' * 100_000,
        NESTED,
        b" " * (MAX_MANIFEST + 1),
        b'{"manifests":[' + b"0," * 100_000 + b"0]}",
        b'{"manifests":[],"layers":[' + b"{}," * 100_000 + b"{}]}",
        b'{"manifests":[]}\x00',
        '{"manifests":[]}'.encode("utf-16"),
    ],
)
def test_hostile_documents(body: bytes) -> None:
    """Nesting, huge numbers, NaN, broken text, parts by the thousand and mere size are refused and do no harm."""
    assert refusal(body, OCI_INDEX)


def test_the_last_of_duplicate_keys_counts() -> None:
    """Of two fields of one name the last counts, as it does for clients in Go."""
    first, last = json.dumps(described("a")), json.dumps(described("b"))
    body = f'{{"manifests":[{first}],"manifests":[{last}]}}'.encode()

    assert parse_manifest(body, OCI_INDEX).manifests == (descriptor("b"),)


def test_the_largest_manifest() -> None:
    """A manifest of exactly the largest size is read."""
    body = b'{"manifests":[]'.ljust(MAX_MANIFEST - 1) + b"}"

    assert len(body) == MAX_MANIFEST
    assert parse_manifest(body, OCI_INDEX).is_index


def test_many_short_annotations() -> None:
    """Annotations may be many and short."""
    few = {"config": CONFIG, "layers": [], "annotations": {f"k{number}": "v" for number in range(20_000)}}
    assert parse_manifest(json.dumps(few).encode(), OCI_MANIFEST).blobs


def test_many_names() -> None:
    """What a manifest names is bounded by its bytes only, and is read in many small steps."""
    body = json.dumps({"config": CONFIG, "layers": [CONFIG] * (4 * STEP)}).encode()

    assert len(list(reading(body, OCI_MANIFEST))) == 4


VALUES: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, -1, 2, 10**30, 0.5, "", OCI_INDEX, [], [[]], {}, CONFIG, [CONFIG], [CONFIG, None]]
)
FIELDS = ["schemaVersion", "mediaType", "manifests", "config", "layers", "subject", "annotations", "artifactType", "x"]
BODIES = st.binary(max_size=60) | st.dictionaries(st.sampled_from(FIELDS), VALUES).map(
    lambda document: json.dumps(document).encode()
)


@given(BODIES, st.sampled_from(["", *sorted(MANIFEST_TYPES)]) | st.text(max_size=10))
@settings(max_examples=100)
def test_no_document_raises_anything_but_our_own_error(body: bytes, content_type: str) -> None:
    """Whatever the document, it is refused, or a manifest of a type that we serve."""
    with contextlib.suppress(OciError):
        manifest = parse_manifest(body, content_type)

        assert manifest.media_type in MANIFEST_TYPES
        assert not (manifest.manifests and manifest.blobs)


def test_platforms() -> None:
    """A platform is written as people write it; what is about an image, rather than one, is told from images."""
    arm = Platform("linux", "arm", "v7")
    children = [Descriptor("", Digest.of(b""), 1, of) for of in (arm, Platform("unknown", "unknown"), None)]
    assert (str(arm), [child.is_attestation for child in children]) == ("linux/arm/v7", [False, True, False])
