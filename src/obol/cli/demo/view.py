"""How a demonstration is shown while it runs: a growing chart on a terminal, a line for each event elsewhere.

The chart on the terminal goes when the result is there, which is the same chart: no number stands there twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from obol.cli.later import later
from obol.cli.terminal.bars import MARGIN, may_draw
from obol.demo.base import megabytes, seconds
from obol.demo.chart import MEANINGS, against, bars

if TYPE_CHECKING:
    from rich import console as terminal
    from rich import constrain, progress, table, text
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

    from obol.cli.terminal.present import Speaker
    from obol.demo.base import MeasuredPull, PhaseName, Watcher
else:
    terminal = later("rich.console")
    constrain, progress, table, text = (later(f"rich.{name}") for name in ("constrain", "progress", "table", "text"))

_BESIDE = 45
"""Columns for all that stands beside the name of a phase."""
_REDRAWS = 8
"""Of the live line, a second: drawing takes time from what is measured."""


@contextmanager
def watching(say: Speaker) -> Iterator[Watcher]:
    """Give the watcher that suits the person and standard error."""
    if say.quiet:
        yield Unseen()
    elif may_draw():
        live = Live(drawing)
        with live.progress:
            yield live
    else:
        yield DemoLines(say)


def title(what: Literal["make"] | PhaseName) -> str:
    """What is going on."""
    return "making images" if what == "make" else f"{what} ({MEANINGS[what]})"


def finding(phase: MeasuredPull) -> str:
    """What a phase took."""
    faster = f", {against(phase)}" if against(phase) else ""
    return f"{seconds(phase.seconds)}{faster}, {megabytes(phase.bytes_from_upstream)} from upstream"


class Unseen:
    """A `Watcher` that shows nothing."""

    def began(self, what: Literal["make"] | PhaseName, total: int) -> None:
        """Say nothing."""

    def moved(self, count: int) -> None:
        """Say nothing."""

    def ended(self, phase: MeasuredPull) -> None:
        """Say nothing."""


class DemoLines(Unseen):
    """A `Watcher` that writes lines."""

    def __init__(self, say: Speaker) -> None:
        self._say = say

    def began(self, what: Literal["make"] | PhaseName, total: int) -> None:
        """Name it."""
        self._say.note(f"{title(what)}: {megabytes(total)}")

    def ended(self, phase: MeasuredPull) -> None:
        """Tell what it took."""
        self._say.note(f"  {finding(phase)}")


class Live:
    """A `Watcher` that draws a bar for what goes on, below the chart of the phases that are done."""

    def __init__(self, draw: Callable[[Sequence[MeasuredPull]], Progress]) -> None:
        self._phases: list[MeasuredPull] = []
        self.progress = draw(self._phases)
        self._bar: TaskID | None = None

    def began(self, what: Literal["make"] | PhaseName, total: int) -> None:
        """Draw a new bar in place of the last."""
        if self._bar is not None:
            self.progress.remove_task(self._bar)
        self._bar = self.progress.add_task(title(what), total=total)

    def moved(self, count: int) -> None:
        """Let it grow."""
        if self._bar is not None:
            self.progress.advance(self._bar, count)

    def ended(self, phase: MeasuredPull) -> None:
        """Add it to the chart."""
        self._phases.append(phase)


def drawing(phases: Sequence[MeasuredPull], screen: Console | None = None) -> Progress:
    """The bar, with the chart of these phases above it, on standard error if not told; all of it goes in the end."""
    console = screen or terminal.Console(file=sys.stderr)
    room = max(10, console.width - _BESIDE)

    class Chart(progress.Progress):
        """A bar below a chart."""

        def get_renderables(self) -> Iterator[RenderableType]:
            width = max(1, console.width - MARGIN)
            if phases:
                lines = bars(phases, width, blocks=not console.options.ascii_only)
                yield text.Text("\n".join(lines), no_wrap=True, overflow="crop")
                yield ""
            yield from (constrain.Constrain(part, width) for part in super().get_renderables())

    return Chart(
        progress.TextColumn(
            "{task.description}", table_column=table.Column(no_wrap=True, overflow="ellipsis", max_width=room)
        ),
        progress.BarColumn(bar_width=None, table_column=table.Column(ratio=1, min_width=8)),
        progress.DownloadColumn(table_column=table.Column(no_wrap=True)),
        progress.TransferSpeedColumn(table_column=table.Column(no_wrap=True)),
        console=console,
        transient=True,
        refresh_per_second=_REDRAWS,
        expand=True,
    )
