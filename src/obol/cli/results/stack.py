"""What `obol stack …` writes as JSON: the same fields on every backend, empty where a backend has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from obol.backends.ports import BackendName, Node, Workload
from obol.caches.reachable import Substitute
from obol.cli.results.cache import CacheContainer, ImageProblem
from obol.registry.control.api import EngineStatus

CacheEngineName = Literal["builtin", "containers"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where LiteLLM answers, from this machine."""

    url: str
    """Its address."""
    api_base: str
    """What clients of the OpenAI API take as their base URL."""
    key_file: str
    """The file that has the key: `obol stack key` prints it."""


@dataclass(frozen=True, slots=True)
class RegistryGain:
    """What nodes got of the images of one registry."""

    registry: str
    """The registry."""
    bytes_held: int
    """From the cache, which had it before the `up` began."""
    bytes_fetched: int
    """From the registry itself, during the `up`."""


@dataclass(frozen=True, slots=True)
class GainResult:
    """What the caches gave to the nodes of one `up`."""

    measured: bool
    """False: nothing was counted, and the numbers that follow are null."""
    bytes_held: int | None = None
    """From the cache, which had it before the `up` began."""
    bytes_fetched: int | None = None
    """From the registries themselves, during the `up`."""
    saved_seconds: float | None = None
    """An estimate, held against the last cold `up` of this machine; null where nothing was measured to base it on."""
    registries: tuple[RegistryGain, ...] = ()
    """The same for each registry that something came from."""


@dataclass(frozen=True, slots=True)
class UpImage:
    """One image that the stack needs."""

    reference: str
    """Its name, as in ghcr.io/org/app:1."""
    needed_by: tuple[str, ...]
    """The containers that run it, or the version of k3s that comes with it."""
    state: Literal["cached", "failed", "unknown"]
    """cached: whole in the caches; failed: it could not be fetched; unknown: no cache counted it."""
    digest: str | None = None
    """Of what the reference names, where that was looked up."""
    bytes_total: int | None = None
    """Null, like the next two, where it was not counted for this image alone."""
    bytes_from_cache: int | None = None
    """What the caches had of it before."""
    bytes_from_upstream: int | None = None
    """What came from its registry."""
    problem: ImageProblem | None = None
    """Why it could not be fetched."""


@dataclass(frozen=True, slots=True)
class UpResult:
    """`stack up`."""

    stack: str | None
    """The name of the stack; null without a cluster."""
    backend: BackendName
    """none: nothing here can run the stack, so only the caches were filled."""
    created: bool
    """The cluster, or the pods, were not there before."""
    complete: bool
    """Every workload answers; without a cluster: every image is in the caches."""
    seconds: float
    """How long it took."""
    gateway: Gateway | None
    """Null where LiteLLM does not run, or has no address on this machine."""
    manifests: str | None
    """The directory of the stack's manifests, which are yours to change; null without a cluster."""
    cache_engine: CacheEngineName | None
    """What serves the images; null: they are pulled directly."""
    mirrors: dict[str, str]
    """By registry: the address that nodes ask first."""
    substitutes: tuple[Substitute, ...]
    """Ports of the builtin engine that serve in place of those that were asked for."""
    gain: GainResult
    """What the caches gave."""
    images: tuple[UpImage, ...]
    """Every image that the stack needs."""
    notes: tuple[str, ...]
    """What else the command says to people, a sentence each."""


@dataclass(frozen=True, slots=True)
class HeldImageRow:
    """One image that the stack needs."""

    reference: str
    """Its name, as in ghcr.io/org/app:1."""
    needed_by: tuple[str, ...]
    """The containers that run it, or the version of k3s that comes with it."""
    held: Literal["complete", "incomplete", "missing"] | None
    """How much of it the builtin engine has; null where that engine does not run."""


@dataclass(frozen=True, slots=True)
class LastUpResult:
    """How the last `up` that came to its end went."""

    at: float
    """When it ended, in seconds since 1970."""
    seconds: float
    """How long it took."""
    gain: GainResult
    """What the caches gave."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The room on disk."""

    caches: str
    """The directory of the caches."""
    caches_bytes: int | None
    """What they take; null where that is not known."""
    free_bytes: int | None
    """What their file system has left; null where that is not known."""
    data: str
    """The directory of the stack's own data."""
    data_exists: bool
    """Whether that directory is there."""


@dataclass(frozen=True, slots=True)
class StackStatusResult:
    """`stack status`."""

    stack: str | None
    """The name of the stack; null: there is none."""
    backend: BackendName
    """none where there is no stack."""
    cluster: Literal["absent", "stopped", "running", "unknown"]
    """Whether it runs; unknown: it did not answer."""
    trouble: str
    """Why the cluster is unknown, or nodes and workloads are missing here; "" otherwise."""
    gateway: Gateway | None
    """Null where LiteLLM does not answer, or has no address on this machine."""
    manifests: str | None
    """The directory of the stack's manifests, which are yours to change; null without a stack."""
    nodes: tuple[Node, ...]
    """The machines of the cluster; empty where the backend has none."""
    workloads: tuple[Workload, ...]
    """What the stack runs, and where that answers."""
    cache_engine: CacheEngineName | None
    """What serves images now; null: no cache runs."""
    engine: EngineStatus | None
    """What the builtin engine says of itself; null where it does not run."""
    containers: tuple[CacheContainer, ...]
    """The cache containers that are there; the registry of development mode is among them."""
    mirrors: dict[str, str]
    """By registry: the address that nodes ask first."""
    substitutes: tuple[Substitute, ...]
    """Ports of the builtin engine that serve in place of those that were asked for."""
    images_complete: bool | None
    """Every image of the stack is in the caches; null where the builtin engine does not run."""
    images: tuple[HeldImageRow, ...]
    """Every image that the stack needs."""
    last_up: LastUpResult | None
    """Null where none came to its end."""
    disk: Disk
    """The room on disk."""


@dataclass(frozen=True, slots=True)
class InitResult:
    """`stack init`."""

    stack: str
    """The name of the stack."""
    backend: BackendName
    """What it is to run on."""
    config: str
    """The directory in which the stack is written down."""
    manifests: str
    """The directory of its manifests, which are yours to change."""


@dataclass(frozen=True, slots=True)
class DownResult:
    """`stack down`."""

    stack: str
    """The name of the stack."""
    backend: BackendName
    """What it runs on."""
    stopped: bool
    """False: it did not run."""


Removed = Literal["cluster", "images", "data", "manifests", "caches"]


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that stays."""

    path: str
    """The file or directory."""
    why: str
    """Why it stays."""


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """`stack purge`."""

    stack: str | None
    """The name that the stack had; null: there was none."""
    backend: BackendName | None
    """What it ran on; null: there was none."""
    removed: tuple[Removed, ...]
    """cluster: with its pods; images: those that podman had pulled for it; caches: with all that they held."""
    kept: tuple[Kept, ...]
    """Files of yours, and data without --force."""
    notes: tuple[str, ...]
    """What else the command says to people, a sentence each."""


@dataclass(frozen=True, slots=True)
class KeyResult:
    """`stack key`."""

    key: str
    """What LiteLLM takes as its key."""
    key_file: str
    """The file that has it."""
