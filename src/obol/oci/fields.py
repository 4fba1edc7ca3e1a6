"""Header fields that come in several lines (RFC 9110, section 5.3), as far as they are worth reading.

Each line has its limit where it is received. These are the limits of all lines together: whoever sends a hundred of
them wants to keep us busy.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_LINES = 32
MAX_ALL = 32 * 1024
"""Characters of all lines of one field."""


def worth_reading(lines: Sequence[str], longest: int) -> Iterator[str]:
    """The first lines, none longer than `longest` characters, and no more in all than anybody honest sends."""
    left = MAX_ALL
    for line in islice(lines, MAX_LINES):
        yield line[: min(longest, left)]
        left -= min(longest, len(line))
        if left <= 0:
            return
