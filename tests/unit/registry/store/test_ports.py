"""The type with which an upstream gave content is read from the grants that came with it."""

from __future__ import annotations

import pytest

from obol.oci.references import Digest
from obol.registry.store.ports import ContentKind, Grant, provenance_type

DIGEST = Digest.of(b"x")
MANIFEST = Grant(DIGEST, ContentKind.MANIFEST, "application/x", 1)


@pytest.mark.parametrize(
    ("grants", "media_type"),
    [
        ([MANIFEST], "application/x"),
        ([Grant(Digest.of(b"child"), ContentKind.MANIFEST, "application/y", 1), MANIFEST], "application/x"),
        ([Grant(DIGEST, ContentKind.BLOB, "", 1)], ""),
        ([], ""),
    ],
)
def test_provenance_type(grants: list[Grant], media_type: str) -> None:
    """What came as a manifest has that manifest's type; all else came as a blob."""
    assert provenance_type(grants, DIGEST) == media_type
