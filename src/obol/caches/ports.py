"""A cache engine as the rest of the product sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from obol.registry.control.api import EngineStatus, Inventory, Listener

EngineName = Literal["auto", "builtin", "containers"]
"""Which caches are wanted; auto: the builtin engine, or containers where nodes cannot reach it."""


@dataclass(frozen=True, slots=True)
class Substitute:
    """A port that serves in place of the one that was asked for."""

    registry: str
    """Whose images it serves."""
    wanted: int
    """The port that was asked for."""
    port: int
    """The port that serves."""
    holder: str
    """The process that holds the wanted one; "" where that is not known."""
    free: bool = False
    """The wanted one is free again: the next engine takes it."""


@dataclass(frozen=True, slots=True)
class Started:
    """The engine runs."""

    status: EngineStatus
    already: bool
    """It ran before we were asked."""
    substitutes: tuple[Substitute, ...] = ()
    differs: tuple[str, ...] = ()
    """How an engine that ran before differs from what was asked for: a sentence each."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is there when one asks."""

    status: EngineStatus
    substitutes: tuple[Substitute, ...] = ()


class CacheEngine(Protocol):
    """Caches that outlive the clusters which use them."""

    def start(self) -> Started:
        """Make the engine run, if it does not. Raises EngineUnresponsive, PortTaken, StoreUnusable."""
        ...

    def stop(self) -> bool:
        """Make it end; False where nothing ran. Raises EngineUnresponsive."""
        ...

    def status(self) -> Running | None:
        """Ask the engine; None where it does not run. Raises EngineUnresponsive."""
        ...

    def images(self) -> Inventory:
        """List what is held. Raises EngineNotRunning, EngineUnresponsive."""
        ...

    def listen(self, listener: Listener) -> Listener:
        """Serve one more address; answers with the real port. Raises EngineNotRunning, PortTaken."""
        ...
