"""Conditional requests (RFC 9110, section 13): the entity tag of content is its digest in quotes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.oci.references import Digest

_ENTITY_TAG = re.compile(r'[ \t,]*(?:W/)?"(?P<opaque>[^"]*)"')


def etag(digest: Digest) -> str:
    """The ETag field; strong, since a digest names bytes."""
    return f'"{digest}"'


def not_modified(if_none_match: str | None, digest: Digest) -> bool:
    """Whether the client holds this content already. The comparison is the weak one, as the field asks."""
    if if_none_match is None:
        return False
    field = if_none_match.strip(" \t")
    if field == "*":
        return True
    position = 0
    while (match := _ENTITY_TAG.match(field, position)) is not None:
        if match["opaque"] == digest:
            return True
        position = match.end()
    return False


def range_applies(if_range: str | None, digest: Digest) -> bool:
    """Whether a Range field is to be followed: no If-Range, or our own strong tag. A weak tag or a date never fits."""
    return if_range is None or if_range.strip(" \t") == etag(digest)
