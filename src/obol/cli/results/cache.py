"""What `obol cache …` writes as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from obol.caches.reachable import Substitute
from obol.client.ports import Kind
from obol.registry.control.api import Amount, EngineStatus


@dataclass(frozen=True, slots=True)
class CacheContainer:
    """A cache container of Docker."""

    name: str
    """The container's name."""
    registry: str
    """Whose images it serves."""
    state: Literal["running", "stopped", "failing"]
    """failing: it runs, and does not answer."""
    port: int | None
    """Where it is published on loopback; null where it is not."""
    content: Amount | None = None
    """The blobs that it holds, and the bytes of its directory; null where that is not ours to count, or was not
    counted."""


@dataclass(frozen=True, slots=True)
class CacheStatusResult:
    """`cache status`."""

    running: bool
    """Whether a cache serves, whichever engine it is of."""
    cache_engine: Literal["builtin", "containers"] | None
    """Which one; null: none."""
    store: str
    """The directory of the builtin engine's content."""
    engine: EngineStatus | None
    """What the builtin engine says of itself; null where it does not run."""
    substitutes: tuple[Substitute, ...]
    """Ports of the builtin engine that serve in place of those that were asked for."""
    containers: tuple[CacheContainer, ...]
    """The cache containers that are there."""


@dataclass(frozen=True, slots=True)
class StartResult:
    """`cache start`."""

    already: bool
    """It ran before."""
    differs: tuple[str, ...]
    """How the engine that runs differs from what was asked for, a sentence each."""
    cache_engine: Literal["builtin", "containers"]
    """Which one serves."""
    engine: EngineStatus | None
    """What the builtin engine says of itself; null where containers serve."""
    substitutes: tuple[Substitute, ...]
    """Ports that serve in place of those that were asked for."""
    containers: tuple[CacheContainer, ...]
    """The cache containers that answer."""


@dataclass(frozen=True, slots=True)
class StopResult:
    """`cache stop`."""

    stopped: bool
    """False: nothing ran."""
    containers: tuple[str, ...] = ()
    """The cache containers that were stopped."""


@dataclass(frozen=True, slots=True)
class LogResult:
    """`cache logs`; with --follow the log's own lines are written instead."""

    path: str
    """The file; "" where containers serve, whose logs Docker keeps."""
    lines: tuple[str, ...]
    """Its last lines; of containers, each begins with the name of its registry."""


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """Why an image could not be fetched."""

    kind: Kind
    """The cause, for programs."""
    why: str
    """The same for people."""
    hint: str
    """What to do next."""
    retry_after_seconds: float | None
    """When another try makes sense; null where the registry does not say."""


@dataclass(frozen=True, slots=True)
class WarmedImage:
    """One image of `cache warm`."""

    reference: str
    """Its name, as in ghcr.io/org/app:1."""
    state: Literal["cached", "failed", "unfinished"]
    """unfinished: interrupted before it was done; what was fetched of it is kept."""
    digest: str | None = None
    """Of what the reference names."""
    platforms: tuple[str, ...] = ()
    """Those that were fetched, as in linux/arm64."""
    layers: int = 0
    """How many layers it has on these platforms."""
    bytes_total: int = 0
    """What it has on these platforms, manifests included."""
    bytes_from_cache: int = 0
    """What the cache had before."""
    bytes_from_upstream: int = 0
    """What came from the registry."""
    bytes_kept: int | None = None
    """What the cache keeps of its layers and configuration where it is unfinished, for the next time."""
    seconds: float = 0.0
    """How long it took."""
    problem: ImageProblem | None = None
    """Why it could not be fetched."""


@dataclass(frozen=True, slots=True)
class WarmResult:
    """`cache warm`."""

    complete: bool
    """Every image is in the cache."""
    interrupted: bool
    """Ctrl-C ended it."""
    seconds: float
    """How long it took."""
    bytes_from_cache: int
    """What the cache had before."""
    bytes_from_upstream: int
    """What came from registries."""
    images: tuple[WarmedImage, ...]
    """Each image, in the order in which they were named."""


@dataclass(frozen=True, slots=True)
class FileText:
    """A file, and what it says for the caches."""

    path: str
    """The file."""
    text: str
    """Its text for the caches."""


Action = Literal["written", "unchanged", "restored", "removed", "merged", "gone"]
"""Those of `machine.originals`, which takes longer to load."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """What became of one file."""

    path: str
    """The file."""
    action: Action
    """After --write: written, unchanged. After --undo: restored (as it was), removed (there was none before), merged
    (only our part was taken out), gone (nothing of ours was there any more)."""


@dataclass(frozen=True, slots=True)
class ConfigResult:
    """`cache config`."""

    client: str
    """The client, as it was named."""
    files: tuple[FileText, ...]
    """What the client is to read; empty with --undo."""
    changes: tuple[FileChange, ...]
    """What became of files; empty without --write and --undo."""
    restart: str
    """The command that makes the client read it; "" where none is needed."""
    notes: tuple[str, ...]
    """What else the command says to people, a sentence each."""


@dataclass(frozen=True, slots=True)
class EnableResult:
    """`cache enable`."""

    path: str
    """The file of the service."""
    text: str
    """What is in it."""
    engine: EngineStatus
    """What the engine says of itself."""
    substitutes: tuple[Substitute, ...]
    """Ports that serve in place of those that were asked for."""
    differs: tuple[str, ...]
    """How an engine that ran before differed from the settings, a sentence each."""
    left_out: tuple[str, ...]
    """Variables that hold a password, and are therefore not in the file."""
