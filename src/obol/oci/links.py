"""The Link field (RFC 8288), as far as pagination needs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from obol.oci.fields import worth_reading

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINE = 16 * 1024
"""Characters of a line that are looked at."""
MAX_LINKS = 100
"""Links that are looked at, in all lines together."""

_TARGET = re.compile(r"[ \t,]*<(?P<target>[!-;=?-~]+)>")
_PARAMETER = re.compile(
    r'[ \t]*;[ \t]*(?P<name>[^ \t;,="<>]+)(?:[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^ \t;,"<>]*)))?'
)


def next_page(link_headers: Sequence[str]) -> str | None:
    """The target of the first link whose relation is `next`, as it was written; None if there is none.

    The target may be relative, and it may lead anywhere: the caller decides whether to follow it.
    """
    steps = iter(range(MAX_LINKS))
    for text in worth_reading(link_headers, MAX_LINE):
        position = 0
        while next(steps, None) is not None and (match := _TARGET.match(text, position)) is not None:
            relation, position = _relation(text, match.end())
            if "next" in relation.lower().split():
                return match["target"]
    return None


def _relation(text: str, position: int) -> tuple[str, int]:
    """The `rel` of the link whose parameters begin at `position`, and where they end. Of two, the first counts."""
    relation: str | None = None
    while (match := _PARAMETER.match(text, position)) is not None:
        position = match.end()
        if relation is None and match["name"].lower() == "rel":
            relation = match["quoted"] or match["plain"] or ""
    return relation or "", position
