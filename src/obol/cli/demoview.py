"""How a demonstration is shown while it runs: one live line on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from obol.demo.chart import MEANINGS, against
from obol.demo.quantities import megabytes, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from obol.cli.present import Speaker
    from obol.demo.base import Phase, PhaseName, Watcher

_REDRAWS = 8
"""Of the live line, a second: drawing takes time from what is measured."""


@contextmanager
def watching(say: Speaker) -> Iterator[Watcher]:
    """Give the watcher that suits the person and standard error."""
    if say.quiet:
        yield Unseen()
    elif sys.stderr.isatty():
        with _live() as progress:
            yield Live(progress)
    else:
        yield Lines(say)


def title(what: Literal["make"] | PhaseName) -> str:
    """What is going on."""
    return "making images" if what == "make" else f"{what} ({MEANINGS[what]})"


def finding(phase: Phase) -> str:
    """What a phase took."""
    faster = f", {against(phase)}" if against(phase) else ""
    return f"{seconds(phase.seconds)}{faster}, {megabytes(phase.bytes_from_upstream)} from upstream"


class Unseen:
    """A `Watcher` for nobody."""

    def began(self, what: Literal["make"] | PhaseName, total: int) -> None:
        """Say nothing."""

    def moved(self, count: int) -> None:
        """Say nothing."""

    def ended(self, phase: Phase) -> None:
        """Say nothing."""


class Lines(Unseen):
    """A `Watcher` that writes lines."""

    def __init__(self, say: Speaker) -> None:
        self._say = say

    def began(self, what: Literal["make"] | PhaseName, total: int) -> None:
        """Name it."""
        self._say.note(f"{title(what)}: {megabytes(total)}")

    def ended(self, phase: Phase) -> None:
        """Tell what it took."""
        self._say.note(f"  {finding(phase)}")


class Live:
    """A `Watcher` that draws one bar at a time, and leaves a line for each that is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID | None = None

    def began(self, what: Literal["make"] | PhaseName, total: int) -> None:
        """Draw a new bar in place of the last."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
        self._bar = self._progress.add_task(title(what), total=total)

    def moved(self, count: int) -> None:
        """Let it grow."""
        if self._bar is not None:
            self._progress.advance(self._bar, count)

    def ended(self, phase: Phase) -> None:
        """Write down what it took."""
        self._progress.console.print(f"{phase.name:<9}{finding(phase)}", highlight=False, markup=False)


def _live() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        refresh_per_second=_REDRAWS,
        expand=True,
    )
