"""Rates, sizes and times: read as people write them on the command line, and written for people.

Prefixes are decimal throughout, because links are sold in them: 200M is 200 000 000 bits per second, 250M is
250 000 000 bytes.
"""

from __future__ import annotations

import re

from obol.demo.base import REAL_STACK
from obol.errors import UsageError

SMALLEST_SIZE = 1_000_000
"""Bytes; below it, most layers would be as small as a layer can be, and the shapes would be lost."""
LARGEST_SIZE = 10_000_000_000
SLOWEST_RATE = 1e6
LONGEST_LATENCY = 2.0

_NUMBER = r"(\d{1,12}(?:\.\d{1,6})?)"
_PREFIXED = re.compile(rf"{_NUMBER}([kMG]?)", re.ASCII)
_PERCENT = re.compile(rf"{_NUMBER}%", re.ASCII)
_TIME = re.compile(rf"{_NUMBER}(ms|s)?", re.ASCII)
_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def parse_rate(option: str, text: str) -> float:
    """Read bits per second, such as 200M. Raises UsageError, which names the option."""
    found = _PREFIXED.fullmatch(text)
    rate = float(found[1]) * _PREFIXES[found[2]] if found else 0.0
    if rate < SLOWEST_RATE:
        raise _refused(option, text, "bits per second, such as 200M or 1G, and at least 1M")
    return rate


def parse_size(option: str, text: str) -> int:
    """Read bytes, such as 250M, or a part of the real stack's bytes, such as 25%. Raises UsageError."""
    if percent := _PERCENT.fullmatch(text):
        size = float(percent[1]) / 100 * REAL_STACK
    else:
        found = _PREFIXED.fullmatch(text)
        size = float(found[1]) * _PREFIXES[found[2]] if found else 0.0
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise _refused(option, text, "bytes, such as 250M, or a part of a real stack's, such as 25%: from 1M to 10G")
    return round(size)


def parse_latency(option: str, text: str) -> float:
    """Read seconds, such as 20ms. Raises UsageError."""
    found = _TIME.fullmatch(text)
    seconds = float(found[1]) * (1e-3 if found[2] == "ms" else 1.0) if found else -1.0
    if not 0 <= seconds <= LONGEST_LATENCY:
        raise _refused(option, text, "a time, such as 20ms or 0.1s, and at most 2s")
    return seconds


def _refused(option: str, text: str, allowed: str) -> UsageError:
    return UsageError(f"{option} {text} cannot be used", why=f"it must be {allowed}")


def megabytes(size: float) -> str:
    """Bytes for people: 250180000 is 250 MB."""
    millions = size / 1e6
    return f"{millions:,.0f} MB" if millions >= 10 or millions == 0 else f"{millions:.1f} MB"


def megabits(rate: float) -> str:
    """Bits per second for people: 2e8 is 200 Mbit/s."""
    return f"{rate / 1e6:,g} Mbit/s"


def seconds(span: float) -> str:
    """Seconds for people."""
    return f"{span:.1f} s"


def milliseconds(span: float) -> str:
    """A latency for people: 0.02 is 20 ms."""
    return f"{span * 1e3:g} ms"


def part(share: float) -> str:
    """A share of a whole for people: 0.25 is "a quarter"."""
    for whole, name in ((1.0, "all"), (0.5, "half"), (0.25, "a quarter"), (0.1, "a tenth")):
        if abs(share / whole - 1) < 0.01:
            return name
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"
