"""Documents of kinds that we do not read: artifacts that have a media type of their own.

They are kept and passed on byte for byte like any manifest. Only what they refer to is none of our business.
"""

from __future__ import annotations

from obol.oci.manifests import VAGUE, Manifest
from obol.oci.mediatypes import MANIFEST_TYPES, OCTET_STREAM, bare

_NO_DOCUMENT = frozenset({OCTET_STREAM, "application/xhtml+xml", "application/xml", "application/problem+json"})
"""Types of blobs, pages and errors."""


def is_opaque(content_type: str) -> bool:
    """Whether a Content-Type names a kind of document that is passed on as it is, whatever it holds.

    That is any application type but those that say nothing of the document, and those that we read.
    """
    declared = bare(content_type)
    return declared.startswith("application/") and declared not in MANIFEST_TYPES | VAGUE | _NO_DOCUMENT


def opaque(content_type: str) -> Manifest:
    """A manifest of which only the kind is known; it names nothing that anybody may read."""
    return Manifest(bare(content_type), (), (), None, "")
