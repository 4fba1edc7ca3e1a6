import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.errors import MANIFEST_INVALID, OciError
from obol.oci.manifests import Descriptor, Manifest, Platform, choose, is_opaque, opaque, parse_manifest, stored_type
from obol.oci.mediatypes import DOCKER_SCHEMA1, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST
from obol.oci.references import Digest
from tests.unit.oci.test_manifests import BODIES, CONFIG, NESTED


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/vnd.example.thing.v1+json; x=y", True),
        (DOCKER_SCHEMA1, True),
        (OCI_INDEX, False),
        ("application/json", False),
        ("application/octet-stream", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_other_kinds(kind: str, *, expected: bool) -> None:
    """A document of another kind is passed on unread, and names nothing; blobs, pages and errors are no documents."""
    assert is_opaque(kind) is expected
    assert opaque("application/x; y=z") == Manifest("application/x", (), (), None, "")


@pytest.mark.parametrize("said", ["", OCI_MANIFEST])
def test_an_image(said: str) -> None:
    """An image is told by its shape, whatever it names."""
    assert stored_type(json.dumps({"config": CONFIG, "layers": [5]}).encode(), said) == OCI_MANIFEST


@pytest.mark.parametrize("said", ["", OCI_INDEX])
@pytest.mark.parametrize("children", [None, [], [5]])
def test_an_index(said: str, children: list[int] | None) -> None:
    """So is an index."""
    assert stored_type(json.dumps({"manifests": children, "layers": None}).encode(), said) == OCI_INDEX


@given(BODIES, st.sampled_from(["", *sorted(MANIFEST_TYPES)]) | st.text(max_size=10))
@settings(max_examples=100)
def test_the_outline_agrees_with_the_whole(body: bytes, said: str) -> None:
    """What is a manifest when all of it is read is one of the same type when its outline is; nothing else is raised."""
    outlined = ""
    with contextlib.suppress(OciError):
        outlined = stored_type(body, said)

    with contextlib.suppress(OciError):
        assert parse_manifest(body, said).media_type == outlined


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        NESTED,
        b'{"manifests":5}',
        b'{"manifests":[],"config":{}}',
        b'{"config":[]}',
        b'{"schemaVersion":1}',
    ],
)
@pytest.mark.parametrize("said", [OCI_INDEX, OCI_MANIFEST, "text/html", ""])
def test_none(body: bytes, said: str) -> None:
    """What is none, or could be read as two things, is refused from its outline as well."""
    with pytest.raises(OciError) as refused:
        stored_type(body, said)

    assert refused.value.kind is MANIFEST_INVALID


def child(text: str | None) -> Descriptor:
    """An entry of an index; without text, one that does not say its platform."""
    named = None if text is None else Platform(*text.split("/"))
    return Descriptor("", Digest.of((text or "?").encode()), 1, named)


def chosen(wanted: str, *offers: str | None) -> str | None:
    """What is chosen for a platform, as text; "?" for the one without."""
    found = choose([child(text) for text in offers], Platform(*wanted.split("/")))
    return None if found is None else str(found.platform or "?")


@pytest.mark.parametrize(
    ("wanted", "offers", "found"),
    [
        ("linux/amd64", ("linux/arm64", "linux/amd64"), "linux/amd64"),
        ("linux/amd64", ("linux/arm64", "windows/amd64"), None),
        ("linux/arm64", ("linux/arm64/v8",), "linux/arm64/v8"),
        ("linux/arm64/v8", ("linux/arm64",), "linux/arm64"),
        ("linux/arm", ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6"), "linux/arm/v6"),
        ("linux/arm/v6", ("linux/arm/v7",), None),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2"), "linux/amd64/v2"),
        ("linux/amd64", ("linux/amd64/v2",), None),
        ("linux/s390x", ("linux/s390x",), "linux/s390x"),
        ("linux/ppc64le/power9", ("linux/ppc64le/power8",), None),
        ("linux/amd64", (), None),
    ],
)
def test_choose(wanted: str, offers: tuple[str, ...], found: str | None) -> None:
    """The best variant that runs is chosen, and none that would not."""
    assert chosen(wanted, *offers) == found


def test_attestations() -> None:
    """What an index says about an image is none."""
    assert chosen("linux/amd64", "unknown/unknown") is None
    assert chosen("linux/amd64", None, "unknown/unknown") == "?"


def test_without_a_platform() -> None:
    """A lone image that does not say its platform is taken; among several it is not guessed."""
    assert chosen("linux/amd64", None) == "?"
    assert chosen("linux/amd64", None, "linux/arm64") is None
    assert chosen("linux/amd64", None, "linux/amd64") == "linux/amd64"


def test_the_first_of_two() -> None:
    """Of two for the same platform, the first is taken."""
    offers = [child("linux/amd64"), child("linux/amd64/v1")]

    assert choose(offers, Platform("linux", "amd64")) is offers[0]
