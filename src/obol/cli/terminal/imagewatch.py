"""Asks a cache engine again and again how far images are, while somebody looks."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from obol.errors import ObolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from obol.cli.terminal.board import Board
    from obol.machine.clock import Clock
    from obol.registry.control.api import ProgressStatus

EVERY = 0.25
"""Seconds between two questions."""
_END_WITHIN = 2.0


class AskProgress(Protocol):
    """Asks an engine."""

    def __call__(self, images: Sequence[str], /) -> ProgressStatus | None:
        """How far these images are; None where no engine says so."""
        ...


def engine_at(store: Path, platforms: Sequence[str]) -> AskProgress:
    """The way to ask the engine of a store; it says None where none runs, or it does not answer at once."""
    from obol.registry.control.client import ControlClient

    control = ControlClient(store)

    def ask(images: Sequence[str]) -> ProgressStatus | None:
        with contextlib.suppress(ObolError):
            return control.progress(images, platforms)
        return None

    return ask


@dataclass
class ImageWatch:
    """Keeps a board up to date; `looked` is called after each reading."""

    board: Board
    ask: AskProgress
    clock: Clock
    looked: Callable[[], None] | None = None
    every: float = EVERY

    def look(self) -> None:
        """Take one reading."""
        status = self.ask(self.board.names)
        self.board.take(status, self.clock.monotonic())
        if self.looked is not None:
            self.looked()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Look for as long as the block runs, in a thread: the event loop of the block must not wait."""
        over = threading.Event()

        def work() -> None:
            while not over.is_set():  # at once: what is there now was there before
                with contextlib.suppress(OSError):  # the terminal has gone, say: who works learns of it soon enough
                    self.look()
                over.wait(self.every)

        thread = threading.Thread(target=work, name="images", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_END_WITHIN)
