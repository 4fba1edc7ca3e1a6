"""Header fields that have a grammar of their own and may come in several lines (RFC 9110, section 5.3).

Those are WWW-Authenticate (section 11.6.1), and Link (RFC 8288) as far as pagination needs it. Each line has its limit
where it is received. Here are the limits of all lines together: a server that sends a hundred wants to keep us busy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

MAX_LINES = 32
MAX_ALL = 32 * 1024
"""Characters of all lines of one field."""
MAX_LINE = 16 * 1024
"""Characters of a field line that are looked at."""
STEPS_OF_LINE = 1000
MAX_STEPS = 3 * STEPS_OF_LINE
"""Schemes, parameters and pieces of garbage that are looked at in a line, and in all lines together."""
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SEPARATORS = re.compile(r"[ \t,]*")
# A realm without quotes is a URL as often as not, so a bare value may be more than the grammar allows.
_PARAMETER = re.compile(
    rf'(?P<name>{_WORD})[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^ \t,"]+))', re.DOTALL
)
_SCHEME = re.compile(rf"(?P<scheme>{_WORD})(?:[ \t]+|(?=,)|$)")
_TOKEN68 = re.compile(r"(?P<value>[A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_REST = re.compile(r"[^,]*")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
MAX_LINKS = 100
"""Links that are looked at, in all lines together."""
_TARGET = re.compile(r"[ \t,]*<[ \t]*(?P<target>[!-;=?-~]+)[ \t]*>")
_NEXT = re.compile(r"\bnext\b", re.IGNORECASE)
_EMPTY = re.compile(r"<[ \t]*>")
_LINK_PARAMETER = re.compile(
    r'[ \t]*;[ \t]*(?P<name>[^ \t;,="<>]+)(?:[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^ \t;,"<>]*)))?'
)


def worth_reading(lines: Sequence[str], longest: int) -> Iterator[str]:
    """The first lines, none longer than `longest` characters, and no more in all than an honest server sends."""
    left = MAX_ALL
    for line in islice(lines, MAX_LINES):
        yield line[: min(longest, left)]
        left -= min(longest, len(line))
        if left <= 0:
            return


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: a scheme with parameters or one opaque value. Scheme and names are in lower case."""

    scheme: str
    params: tuple[tuple[str, str], ...]
    token68: str = ""

    def get(self, name: str) -> str | None:
        """The value of a parameter, the first if there are several; `name` is in lower case."""
        return next((value for key, value in self.params if key == name), None)


def parse_challenges(values: Sequence[str]) -> tuple[Challenge, ...]:
    """The challenges of all lines of WWW-Authenticate, in order. Of garbage, what can be understood; never raises.

    A comma parts both challenges and the parameters of one challenge, and servers take liberties with all of it. So
    this is a scanner that takes what it understands and skips the rest up to the next comma.
    """
    steps = iter(range(MAX_STEPS))
    found: list[Challenge] = []
    for line in worth_reading(values, MAX_LINE):
        found += _scan(line, islice(steps, STEPS_OF_LINE))
    return tuple(found)


def _scan(line: str, steps: Iterator[int]) -> Iterator[Challenge]:
    scheme, token68 = "", ""
    params: list[tuple[str, str]] = []
    position = _skip(_SEPARATORS, line, 0)
    while position < len(line) and next(steps, None) is not None:
        if (match := _PARAMETER.match(line, position)) is not None:
            params.append((match["name"].lower(), _value(match)))
            position = match.end()
        elif (match := _SCHEME.match(line, position)) is not None:
            if scheme:
                yield Challenge(scheme, tuple(params), token68)
            # Parameters before the first scheme belong to nothing.
            params = []
            opaque = _TOKEN68.match(line, match.end())
            scheme, token68 = match["scheme"].lower(), opaque["value"] if opaque is not None else ""
            position = (opaque or match).end()
        else:
            position = _skip(_REST, line, position)
        position = _skip(_SEPARATORS, line, position)
    if scheme:
        yield Challenge(scheme, tuple(params), token68)


def _value(match: re.Match[str]) -> str:
    quoted: str | None = match["quoted"]
    return str(match["plain"]) if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)


def _skip(pattern: re.Pattern[str], line: str, position: int) -> int:
    match = pattern.match(line, position)
    return match.end() if match is not None else position


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
    while (match := _LINK_PARAMETER.match(text, position)) is not None:
        position = match.end()
        if relation is None and match["name"].lower() == "rel":
            relation = match["quoted"] or match["plain"] or ""
    return relation, position
