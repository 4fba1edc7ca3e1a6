"""Lists of tags and of referrers, looked at without making something of each entry.

A list of the greatest length has millions of entries if they are short, and objects for all of them would take fifty
bytes each and hold everybody up. So a parser passes over the entries, and those of a long list are looked at in steps.
"""

from __future__ import annotations

import re
from collections.abc import Generator

import msgspec

STEP = 64 * 1024
"""Bytes of entries that are looked at in one go: a millisecond."""

_BETWEEN = re.compile(rb'"[ \t\r\n]*,')
_strings = msgspec.json.Decoder(list[str]).decode


class _Tags(msgspec.Struct):
    tags: msgspec.Raw
    """Null where there are none; a document without it is no list, but an error under 200, say."""


class _Referrers(msgspec.Struct):
    manifests: msgspec.Raw
    schema_version: int = msgspec.field(name="schemaVersion", default=2)


_tags = msgspec.json.Decoder(_Tags).decode
_referrers = msgspec.json.Decoder(_Referrers).decode
_BROKEN = (msgspec.MsgspecError, UnicodeError, RecursionError)


def tags_of(body: bytes) -> Generator[None, None, bytes]:
    """The tags in a list of tags, as JSON, in steps. Raises ValueError for what is no such list."""
    try:
        tags = bytes(_tags(body).tags)
        if len(tags) <= STEP:
            return b"[]" if tags == b"null" else msgspec.json.encode(_strings(tags))
        yield
        yield from _check_strings(tags)
    except _BROKEN as problem:
        raise ValueError("not a list of tags") from problem
    return tags


def check_referrers(body: bytes) -> None:
    """Raise ValueError unless this is an index, whatever it lists."""
    try:
        found = _referrers(body)
    except _BROKEN as problem:
        raise ValueError("not a list of referrers") from problem
    if bytes(memoryview(found.manifests)[:1]) != b"[":
        raise ValueError("not a list of referrers")


def _check_strings(array: bytes) -> Generator[None, None, None]:
    """Raise one of `_BROKEN`, or ValueError, unless a long JSON array holds strings as tags are: without escapes."""
    if array[:1] != b"[" or b"\\" in array:
        raise ValueError("not a list of tags")
    start, last = 1, len(array) - 1
    while start < last:
        between = _BETWEEN.search(array, start + STEP, last)
        stop = last if between is None else between.end()
        _strings(b"[%b]" % array[start : last if between is None else stop - 1])
        start = stop
        yield
