"""What a demonstration is told and what it finds: values between the scenario, the chart and the command line.

`Result`, as JSON, is the output of `obol demo -o json`, and is kept stable: fields may be added, none is renamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from obol.demo.images import QUARTER

PhaseName = Literal["direct", "cold", "warm", "offline"]

WARM_FACTOR = 5.0
"""How many times faster than a direct pull a warm one is to be."""

REAL_STACK = 4 * QUARTER
"""Bytes of the real images, compressed, as estimated in `images`."""


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
