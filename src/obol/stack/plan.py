"""What follows from what was found: the backend, which images are held, the time that was saved. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from obol.backends.base import BackendName, Program, Runtimes
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
    found: BackendName = "none"
    """The backend that this machine has the programs for, whether or not it is the one that is used."""
    unusable: tuple[Program, ...] = ()
    """Programs that are installed, but do not answer, where that left us without a backend."""


def choose(runtimes: Runtimes) -> Choice:
    """Choose a backend for this machine.

    Caches are all that can be brought up so far, so the backend is none; what else could run is named.
    """
    found = _possible(runtimes)
    programs = (runtimes.docker, runtimes.k3d, runtimes.podman)
    unusable = tuple(program for program in programs if program.installed and not program.answers)
    return Choice("none", found, unusable if found == "none" else ())


def _possible(runtimes: Runtimes) -> BackendName:
    if runtimes.docker.answers and runtimes.k3d.answers:
        return "k3d"
    return "podman" if runtimes.podman.answers else "none"


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
