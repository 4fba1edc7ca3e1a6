"""What goes into the life of a stack, and what comes out: the same shape on every backend, with empty parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from obol.backends.ports import BACKENDS, NOTHING_SEEN, Details
from obol.client.ports import PulledImage, PullFailed

if TYPE_CHECKING:
    from obol.backends.ports import BackendName, ClusterState
    from obol.caches.builtin.process import Running, Started
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.warming import Held
    from obol.oci.references import ImageReference
    from obol.rendering.registries import Mirror
    from obol.stack.home import Identity, LastUp
    from obol.stack.plan import Choice, Gain
    from obol.workloads.images import StackImage
    from obol.workloads.sources import ManifestFile


@dataclass(frozen=True, slots=True)
class UpRequest:
    """What `up` is to bring up."""

    identity: Identity | None
    """None where nothing runs."""
    data: Path
    manifests: tuple[ManifestFile, ...]
    images: tuple[StackImage, ...]
    use_caches: bool = True
    prefetch: bool = True

    @property
    def references(self) -> list[ImageReference]:
        """Those of the images."""
        return [image.reference for image in self.images]


@dataclass(frozen=True, slots=True)
class UpImageOutcome:
    """What became of one image of the stack."""

    image: StackImage
    held: Held | None = None
    """How much of it the builtin engine has in the end; None where that is not known."""
    warmed: PulledImage | PullFailed | None = None
    """Where `up` itself brought it into the caches."""


@dataclass(frozen=True, slots=True)
class UpOutcome:
    """What `up` did; a backend leaves empty what it does not have."""

    identity: Identity | None
    backend: BackendName
    created: bool = False
    """The cluster was not there before."""
    url: str = ""
    """Where LiteLLM answers."""
    caches: Started | None = None
    """The builtin engine, where it serves."""
    mirrors: tuple[Mirror, ...] = ()
    seconds: float = 0.0
    gain: Gain | None = None
    """None where nothing could be measured."""
    images: tuple[UpImageOutcome, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences that the person has been told."""
    complete: bool = True
    """Every workload answers, or, where nothing runs, every image is in the caches."""
    choice: Choice | None = None
    """What the backend was chosen from."""
    ignored: tuple[str, ...] = ()
    """Wishes that the backend has no use for, a sentence each."""

    @property
    def cache_engine(self) -> Literal["builtin", "containers"] | None:
        """What serves the images; None where nodes pull directly."""
        if self.caches is not None:
            return "builtin" if self.mirrors or not BACKENDS[self.backend].runs else None
        return "containers" if self.mirrors else None

    @property
    def failures(self) -> list[PullFailed]:
        """Why images could not be brought into the caches."""
        return [one.warmed for one in self.images if isinstance(one.warmed, PullFailed)]


@dataclass(frozen=True, slots=True)
class PurgeOutcome:
    """What `purge` did."""

    removed: bool
    """The cluster was there, and is no more."""
    kept: tuple[Path, ...]
    """Manifests that the person changed."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StackStatus:
    """What `status` has found; empty where there is nothing, or the backend does not tell."""

    identity: Identity | None
    state: ClusterState | Literal["unknown"]
    last: LastUp | None = None
    unfinished: float | None = None
    """When a later `up` began (seconds since 1970), where it has not come to its end."""
    containers: tuple[ContainerSeen, ...] = ()
    """Cache containers that are there."""
    details: Details = NOTHING_SEEN
    trouble: str = ""
    """Why the state, or the details, are not known."""
    caches: Running | None = None
    """The builtin engine, if it runs."""
    images: tuple[tuple[StackImage, Held | None], ...] = ()
    """How much of each the builtin engine has; None where it does not run, so that no one can tell."""
