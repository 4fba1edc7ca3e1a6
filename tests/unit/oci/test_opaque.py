from __future__ import annotations

import pytest

from obol.oci.manifests import Manifest, is_opaque, opaque
from obol.oci.mediatypes import DOCKER_SCHEMA1, OCI_INDEX


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
