"""WWW-Authenticate fields (RFC 9110, section 11.6.1).

A comma parts both challenges and the parameters of one challenge, and servers take liberties with all of it. So this
is a scanner that takes what it understands and skips the rest up to the next comma.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from obol.oci.fields import worth_reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    """The challenges of all field lines, in order. Of garbage, what can be understood; never raises."""
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
