"""What follows from what was found: the backend, and the time that the caches saved. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from obol.backends.ports import NONE, by_preference

if TYPE_CHECKING:
    from obol.backends.ports import BackendName, Program, Runtimes
    from obol.registry.control.api import AccountStatus, Given, Inventory

COLD, AS_MUCH = 0.9, 0.9
"""Which share of the bytes an `up` fetches that is cold, and how much of the record's bytes one needs to replace it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the stack is to run on, and what it was chosen from."""

    backend: BackendName
    unusable: tuple[Program, ...] = ()
    """Programs that are installed, but do not answer, where that left us without a backend."""
    looked: bool = False
    """Whether the machine was looked at; otherwise it is as asked, or as it was."""
    on_request: tuple[BackendName, ...] = ()
    """Backends that this machine has the programs for, and which are used only when they are asked for."""


def choose(runtimes: Runtimes) -> Choice:
    """Choose a backend for this machine: what it has the programs for."""
    able = [row for row in by_preference() if row.programs and runtimes.answers(row.programs)]
    for row in able:
        if runtimes.is_root or not row.wants_root:
            return Choice(row.name)
    unusable = tuple(program for program in runtimes.programs if program.installed and not program.answers)
    return Choice(NONE, unusable, on_request=tuple(row.name for row in able))


def wants_kubernetes_images(installed: Callable[[str], bool], *, is_root: bool) -> bool:
    """Tell whether `up` needs the images of k3s here; False, too, where only asking programs would tell.

    `installed` tells whether a program is there, which need not answer: `up` may choose any backend that has all of its
    programs, or, where none has, fills the caches for a later one.
    """
    able = [row for row in by_preference() if row.programs and all(map(installed, row.programs))]
    return all(row.brings_kubernetes_images for row in able if is_root or not row.wants_root)


def time_saved(held: Mapping[str, int], throughput: Mapping[str, float]) -> float | None:
    """Estimate the seconds that were saved by what was held of each registry, at its throughput (bytes a second).

    Images of different registries are fetched at the same time: what counts is the registry that would have taken the
    longest. None where nothing was held, or nothing of what was held was measured.
    """
    spans = [size / throughput[registry] for registry, size in held.items() if size and throughput.get(registry)]
    return max(spans, default=None)


def served_since(inventory: Inventory, moment: float) -> tuple[str, ...]:
    """Name the tagged images that a cache has served since a moment (seconds since 1970)."""
    used = (image for image in inventory.images if image.used_at is not None and image.used_at >= moment)
    return tuple(sorted(f"{image.registry}/{image.repository}:{tag}" for image in used for tag in image.tags))


@dataclass(frozen=True, slots=True)
class Own:
    """How the requests of one `up`'s own nodes are known; a request that fits none of these is another client's."""

    ports: frozenset[tuple[str, int]] = frozenset()
    """Address and port at which no other client asks."""
    addresses: frozenset[str] = frozenset()
    """Addresses of this machine at which no other client asks."""
    peers: frozenset[str] = frozenset()
    """Addresses from which no other client asks: those of nodes."""

    def asked(self, given: Given) -> bool:
        """Whether something was given to a node of ours."""
        at = (given.address, given.port) in self.ports or given.address in self.addresses
        return at or given.peer in self.peers


@dataclass(frozen=True, slots=True)
class Gain:
    """What the nodes of one `up` were given by the caches; sizes in bytes, each byte once for each node."""

    from_cache: int
    """Of what the caches held as a whole before this `up` began."""
    from_upstream: int
    """Of what the caches had to fetch since, be it ahead of the nodes, or for another client at the same time."""
    saved: float | None = None
    """About how many seconds the former saved; None where nothing was measured that it could rest on."""
    registries: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The same two sizes for each registry that something was of."""


def gain(account: AccountStatus, own: Own, throughput: Mapping[str, float]) -> Gain | None:
    """Tell what an account says of our own nodes; None where it does not know everything, or what is ours."""
    if not account.whole or own == Own():
        return None
    registries: dict[str, tuple[int, int]] = {}
    for given in filter(own.asked, account.given):
        held, fetched = registries.get(given.registry, (0, 0))
        registries[given.registry] = (held + given.held, fetched + given.fetched)
    saved = time_saved({registry: held for registry, (held, _fetched) in registries.items()}, throughput)
    totals = [sum(sizes) for sizes in zip(*registries.values(), strict=True)] or [0, 0]
    return Gain(totals[0], totals[1], saved, dict(sorted(registries.items())))


@dataclass(frozen=True, slots=True)
class ColdUp:
    """What an `up` took whose nodes were given (almost) nothing that was held before."""

    seconds: float
    size: int
    """Bytes that its nodes were given."""


def cold_up(gained: Gain, seconds: float, before: ColdUp | None) -> ColdUp | None:
    """Tell what the latest cold `up` was, after one that took `seconds`.

    An `up` that fetched one small image says nothing of the whole stack, and does not replace one that fetched it all.
    """
    size = gained.from_cache + gained.from_upstream
    if not size or gained.from_upstream < COLD * size or (before is not None and size < AS_MUCH * before.size):
        return before
    return ColdUp(seconds, size)


def held_against(gained: Gain, seconds: float, cold: ColdUp | None) -> Gain:
    """Claim no more than what an `up` of `seconds` was quicker than the cold one, for its share of those bytes."""
    if gained.saved is None or cold is None:
        return gained
    share = min(1.0, (gained.from_cache + gained.from_upstream) / cold.size)
    return replace(gained, saved=min(gained.saved, max(0.0, cold.seconds * share - seconds)))
