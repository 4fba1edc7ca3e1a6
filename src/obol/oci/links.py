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

_TARGET = re.compile(r"[ \t,]*<[ \t]*(?P<target>[!-;=?-~]+)[ \t]*>")
_NEXT = re.compile(r"\bnext\b", re.IGNORECASE)
_EMPTY = re.compile(r"<[ \t]*>")
_PARAMETER = re.compile(
    r'[ \t]*;[ \t]*(?P<name>[^ \t;,="<>]+)(?:[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^ \t;,"<>]*)))?'
)


def next_page(link_headers: Sequence[str]) -> str | None:
    """The target of the first link whose relation is `next`, as it was written; None if there is none.

    A single link that says nothing of its relation counts as one, since clients follow it. The target may be relative,
    and it may lead anywhere: the caller decides whether to follow it. Raises ValueError where there seems to be a next
    page, but its link cannot be read: a list that ends too early is worse than an error.
    """
    bare: list[str] = []
    steps = iter(range(MAX_LINKS))
    for text in worth_reading(link_headers, MAX_LINE):
        position = 0
        while next(steps, None) is not None and (match := _TARGET.match(text, position)) is not None:
            relation, position = _relation(text, match.end())
            if relation is None:
                bare.append(match["target"])
            elif "next" in relation.lower().strip("'").split():
                return match["target"]
        if _NEXT.search(text, position) is not None and not _EMPTY.search(text, position):
            raise ValueError("a link to the next page that cannot be read")
    if any(len(line) > MAX_LINE for line in link_headers):
        raise ValueError("a link, perhaps to the next page, that is too long to be read")
    return bare[0] if len(bare) == len(link_headers) == 1 else None


def _relation(text: str, position: int) -> tuple[str | None, int]:
    """The `rel` of the link whose parameters begin at `position`, and where they end. Of two, the first counts."""
    relation: str | None = None
    while (match := _PARAMETER.match(text, position)) is not None:
        position = match.end()
        if relation is None and match["name"].lower() == "rel":
            relation = match["quoted"] or match["plain"] or ""
    return relation, position
