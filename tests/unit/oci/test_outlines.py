from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.errors import MANIFEST_INVALID, OciError
from obol.oci.manifests import parse_manifest, stored_type
from obol.oci.mediatypes import MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST
from tests.unit.oci.test_manifests import BODIES, CONFIG, NESTED


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
