"""Byte ranges of requests and of answers, and conditional requests (RFC 9110, sections 14 and 13).

A server may ignore a Range field, so all that we do not follow (several ranges, other units, nonsense) gives the whole
content; only a good range that lies outside the content is an error. The entity tag of content is its digest in quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.oci.references import Digest

_NUMBER = r"[0-9]{1,19}"
_RANGE = re.compile(
    rf"bytes=[ \t]*(?:(?P<first>{_NUMBER})-(?P<last>{_NUMBER})?|-(?P<suffix>{_NUMBER}))[ \t]*", re.IGNORECASE | re.ASCII
)
_CONTENT_RANGE = re.compile(
    rf"bytes (?P<first>{_NUMBER})-(?P<last>{_NUMBER})/(?P<total>{_NUMBER}|\*)", re.IGNORECASE | re.ASCII
)
_ENTITY_TAG = re.compile(r'[ \t,]*(?:W/)?"(?P<opaque>[^"]*)"')


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole content, status 200."""


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start` up to, not including, `stop`: status 206. Never empty."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Outside the content: status 416."""


@dataclass(frozen=True, slots=True)
class OpenRange:
    """A range of content whose size is not known yet: `start` with or without `stop` (half-open), or a `suffix`.

    `stop` is not greater than `start` where the client named a last byte before the first.
    """

    start: int | None
    stop: int | None
    suffix: int | None

    def within(self, size: int) -> Part | Unsatisfiable:
        """What the range means for content of `size` bytes."""
        if self.suffix is not None:
            start, stop = max(size - self.suffix, 0), size
        else:
            start = self.start or 0
            stop = size if self.stop is None else min(self.stop, size)
        return Part(start, stop) if start < stop else Unsatisfiable()


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a 206 answer says it holds: `start` to `stop` (half-open) of `total` bytes, None where that is not told."""

    start: int
    stop: int
    total: int | None


def parse_range(header: str | None, size: int) -> Whole | Part | Unsatisfiable:
    """What to serve of content of `size` bytes for a Range field."""
    wanted = parse_open_range(header)
    return Whole() if wanted is None else wanted.within(size)


def parse_open_range(header: str | None) -> OpenRange | None:
    """The one byte range that a Range field names; None if the whole content is to be served."""
    match = _RANGE.fullmatch(header) if header is not None else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return OpenRange(None, None, int(suffix))
    return OpenRange(int(first), int(last) + 1 if last is not None else None, None)


def parse_content_range(value: str | None) -> ContentRange | None:
    """Read a Content-Range field; None for all that is not one range of bytes in good order."""
    match = _CONTENT_RANGE.fullmatch(value) if value is not None else None
    if match is None:
        return None
    start, stop = int(match["first"]), int(match["last"]) + 1
    total = None if match["total"] == "*" else int(match["total"])
    if start >= stop or (total is not None and stop > total):
        return None
    return ContentRange(start, stop, total)


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
