"""What a demonstration is asked for and what it finds: values between the scenario, the chart and the command line.

`Result`, as JSON, is the output of `obol demo -o json`, and is kept stable: fields may be added, none is renamed.

Rates, sizes and times are read as people write them, and written for people. Their prefixes are decimal, because links
are sold in them: 200M is 200 000 000 bits per second, 250M is 250 000 000 bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from obol.demo.images import QUARTER
from obol.errors import UsageError

PhaseName = Literal["direct", "cold", "warm", "offline"]

WARM_FACTOR = 5.0
"""How many times faster than a direct pull a warm one is to be."""

REAL_STACK = 4 * QUARTER
"""Bytes of the real images, compressed, as estimated in `images`."""
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


@dataclass(frozen=True, slots=True)
class Link:
    """The internet that is played: bits per second, and the seconds of a round trip."""

    total_bps: float = 200e6
    """Of the whole link."""
    connection_bps: float = 50e6
    """Of one connection."""
    latency: float = 0.020
    """Of one round trip."""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """One demonstration."""

    size: int = QUARTER
    """Bytes of all images."""
    link: Link = Link()


@dataclass(frozen=True, slots=True)
class MeasuredPull:
    """One pull of the whole set by a node that has nothing."""

    name: PhaseName
    """Which pull."""
    seconds: float
    """How long it took."""
    bytes_from_upstream: int
    """Bytes of bodies, manifests included, as the origin counted them."""
    bytes_from_cache: int
    """Bytes that the node got from the cache's store."""
    times_faster: float
    """The seconds of the direct pull divided by these: 1 for the direct pull itself."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured."""

    size: int
    """Bytes of all images."""
    real_size: int
    """Bytes of the images that they stand for, about."""
    images: int
    """How many images."""
    layers: int
    """How many layers they have."""
    link: Link
    """The slowed link that stood for the internet."""
    phases: tuple[MeasuredPull, ...]
    """Direct, cold, warm, offline, in this order."""
    missed: tuple[str, ...]
    """Where the numbers fall short of what the cache promises: a sentence each. A loaded machine can do that."""

    @property
    def share(self) -> float:
        """The part of the real images' bytes that was pulled: 0.25 for a quarter."""
        return self.size / self.real_size


class Watcher(Protocol):
    """Is told how a demonstration goes on."""

    def began(self, what: Literal["make"] | PhaseName, total: int) -> None:
        """Images are being made, or a phase begins: so many bytes are to come."""
        ...

    def moved(self, count: int) -> None:
        """So many bytes more are there."""
        ...

    def ended(self, phase: MeasuredPull) -> None:
        """A phase is over."""
        ...


def shortcomings(direct: float, cold: float, warm: float, offline: float) -> tuple[str, ...]:
    """Compare the seconds of the four phases with what the cache promises."""
    found = []
    if cold >= direct:
        found.append(f"the cold pull took {cold:.1f} s, no less than the direct one ({direct:.1f} s)")
    for name, seconds in (("warm", warm), ("offline", offline)):
        if seconds * WARM_FACTOR > direct:
            found.append(f"the {name} pull was {direct / seconds:.1f} times faster than the direct one, not 5 times")
    return tuple(found)


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
