"""What follows from what was found: the backend, which images are held, the time that was saved. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from obol.backends.base import BackendName, Program, Runtimes
    from obol.caches.base import EngineStatus, Inventory
    from obol.client.base import PulledImage
    from obol.oci.references import ImageReference


@dataclass(frozen=True, slots=True)
class StackImage:
    """An image that the stack needs."""

    reference: ImageReference
    needed_by: tuple[str, ...]
    """The containers that run it, or the version of k3s that comes with it."""


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
    backend = _possible(runtimes)
    programs = (runtimes.docker, runtimes.k3d, runtimes.podman, runtimes.k3s)
    unusable = tuple(program for program in programs if program.installed and not program.answers)
    on_request: tuple[BackendName, ...] = ("k3s",) if backend == "none" and runtimes.k3s.answers else ()
    return Choice(backend, unusable if backend == "none" else (), on_request=on_request)


def _possible(runtimes: Runtimes) -> BackendName:
    if runtimes.docker.answers and runtimes.k3d.answers:
        return "k3d"
    if runtimes.podman.answers:
        return "podman"
    # It changes the machine itself: the last choice, and none for those who would have to ask for root.
    return "k3s" if runtimes.k3s.answers and runtimes.is_root else "none"


def time_saved(images: Iterable[PulledImage], throughput: Mapping[str, float]) -> float | None:
    """Estimate the seconds that the cache saved, where the throughput (bytes a second) of each registry was measured.

    Images of different registries are fetched at the same time: what counts is the registry that would have taken the
    longest. None where nothing came from the cache, or nothing that did was measured.
    """
    from_cache: dict[str, int] = {}
    for image in images:
        registry = image.reference.registry
        from_cache[registry] = from_cache.get(registry, 0) + image.bytes_from_cache
    spans = [size / throughput[registry] for registry, size in from_cache.items() if size and throughput.get(registry)]
    return max(spans, default=None)


def served_since(inventory: Inventory, moment: float) -> tuple[str, ...]:
    """Name the tagged images that a cache has served since a moment (seconds since 1970)."""
    used = (image for image in inventory.images if image.used_at is not None and image.used_at >= moment)
    return tuple(sorted(f"{image.registry}/{image.repository}:{tag}" for image in used for tag in image.tags))


@dataclass(frozen=True, slots=True)
class Gain:
    """What the caches gave during an `up`; sizes in bytes."""

    from_cache: int
    from_upstream: int
    saved: float | None
    """About how many seconds that saved; None where nothing was measured that it could rest on."""


def gain(before: EngineStatus, after: EngineStatus | None) -> Gain | None:
    """Tell two readings of an engine's counters apart; None where it was restarted in between, or is gone.

    The time is that of the registry that would have taken the longest, at the throughput that was measured of it.
    """
    if after is None or (after.pid, after.started_at) != (before.pid, before.started_at):
        return None
    earlier = {upstream.registry: upstream for upstream in before.upstreams}
    from_cache = from_upstream = 0
    spans = []
    for upstream in after.upstreams:
        known = earlier.get(upstream.registry)
        cached = upstream.bytes_from_cache - (known.bytes_from_cache if known else 0)
        from_cache += cached
        from_upstream += upstream.bytes_from_upstream - (known.bytes_from_upstream if known else 0)
        if cached and upstream.throughput:
            spans.append(cached / upstream.throughput)
    return Gain(from_cache, from_upstream, max(spans, default=None))
