"""What the life of a stack is made of besides its backend, as ports: the caches, networks, and telling the person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from obol.backends.ports import Watch
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.ports import EngineStatus, Started
    from obol.rendering.registries import Mirror
    from obol.stack.measuring import Measurement


class Steps(Protocol):
    """Tells the person what goes on: steps, and what should be known."""

    def step(self, label: str) -> AbstractContextManager[Watch]:
        """Begin a step; what it yields takes lines about it. An exception ends it as failed."""
        ...

    def warn(self, text: str) -> None:
        """Say a sentence that must not be missed, now: what follows may fail."""
        ...

    def expect(self, images: Sequence[str]) -> None:
        """These images are going to come into the caches, and are shown as they come."""
        ...


@dataclass(frozen=True, slots=True)
class Wired:
    """How nodes reach the caches."""

    mirrors: tuple[Mirror, ...]
    notes: tuple[str, ...] = ()
    by_builtin: bool = True
    """False: containers serve, and the builtin engine is not running any more."""
    own_addresses: frozenset[str] = frozenset()
    """Addresses of this machine among them at which only nodes of this stack ask."""


class Caches(Protocol):
    """The caches of a stack with a cluster, whichever engine they are of."""

    @property
    def label(self) -> str:
        """What starting them is called."""
        ...

    @property
    def private(self) -> bool:
        """Whether each `up` is to have ports of its own on loopback."""
        ...

    @property
    def store(self) -> Path:
        """Where the builtin engine keeps what it holds."""
        ...

    async def start(self) -> Started | None:
        """Start what is not running; None where this engine has no control socket. Raises ObolError."""
        ...

    async def wire(self, started: Started | None, watch: Watch | None = None) -> Wired:
        """Make the caches reachable for nodes, and say where. Raises ObolError."""
        ...

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """Look at the cache containers that are there. Never raises."""
        ...

    async def remove(self) -> tuple[str, ...]:
        """Stop the caches and remove all that they hold; notes for the person. Raises ObolError."""
        ...


class Networks(Protocol):
    """Networks that were leaked."""

    async def reclaim(self) -> tuple[str, ...]:
        """Free those that nobody needs; notes for the person. Never raises."""
        ...


NOT_WIRED = Wired(())


@dataclass(frozen=True, slots=True)
class Served:
    """The caches of one `up`."""

    started: Started | None = None
    """None where no engine of ours serves."""
    wired: Wired = NOT_WIRED
    measurement: Measurement | None = None

    @property
    def engine(self) -> EngineStatus | None:
        """The builtin engine, where nodes ask it."""
        return self.started.status if self.started is not None and self.wired.mirrors else None
