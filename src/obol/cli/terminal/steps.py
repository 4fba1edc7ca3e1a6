"""Steps of a long command, on standard error: a spinner on a terminal, lines otherwise, nothing with --quiet.

Where a board of images is given, they are shown beside the step that waits for them: as bars on a terminal, otherwise
as a line for each that has come in, and one about all of them now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from obol.cli.later import later
from obol.cli.terminal import present
from obol.cli.terminal.bars import Picture, may_draw, shown
from obol.cli.terminal.board import Board, ImageWatch, engine_at
from obol.cli.terminal.progress import Writer, about, watching
from obol.client.platforms import this_machine
from obol.config.paths import locate
from obol.config.sources import store_directory
from obol.machine.clock import SystemClock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich import console
    from rich.console import Console

    from obol.backends.ports import Watch
    from obol.cli.terminal.bars import Row
    from obol.cli.terminal.board import AskProgress, Finished
    from obol.cli.terminal.present import Speaker
    from obol.client.ports import Progress
    from obol.config.paths import Invocation
    from obol.machine.clock import Clock
else:
    console = later("rich.console")

DONE, FAILED = "✓", "✗"
LINE_EVERY = 10.0
"""Seconds between two lines about all images."""
LOOK_EVERY = 1.0
"""Seconds between two questions, where nothing is drawn."""


class Teller(Writer, Protocol):
    """Where lines go, and sentences that must not be missed."""

    def warn(self, text: str) -> None:
        """Write such a sentence."""
        ...


class _BaseSteps:
    """What both ways to show steps have."""

    def __init__(self, writer: Teller, clock: Clock, board: Board | None) -> None:
        self._writer = writer
        self._clock = clock
        self._board = board

    def warn(self, text: str) -> None:
        """Say a sentence, above the spinner where one turns."""
        self._writer.warn(text)

    def expect(self, images: Sequence[str]) -> None:
        """These images come."""
        if self._board is not None:
            self._board.expect(images)


class LineSteps(_BaseSteps):
    """The `Steps` for logs: a line when a step begins, when something new is known of it, and when it has ended."""

    def __init__(
        self, writer: Teller, clock: Clock, board: Board | None = None, ask: AskProgress | None = None
    ) -> None:
        super().__init__(writer, clock, board)
        self._watch = ImageWatch(board, ask, clock, self.tell, LOOK_EVERY) if board and ask else None
        self._told_at = clock.monotonic()

    @contextmanager
    def step(self, label: str) -> Iterator[Callable[[str], None]]:
        """Tell of one step."""
        began = self._clock.monotonic()
        said = ""

        def watch(line: str) -> None:
            nonlocal said
            if line != said:
                self._writer.note(f"  {line}")
            said = line

        self._writer.note(f"{label} …")
        mark = FAILED
        try:
            with _running(self._watch):
                yield watch
            mark = DONE
        finally:
            self._writer.note(_ended(mark, label, self._clock.monotonic() - began))

    def tell(self) -> None:
        """Say what is new of the images."""
        assert self._board is not None
        for image in self._board.finished():
            self._writer.note(f"  {came(image)}")
        now = self._clock.monotonic()
        rows = self._board.rows(now)
        if len(rows) > 1 and now - self._told_at >= LINE_EVERY:
            self._told_at = now
            self._writer.note(f"  {about(rows[-1])}")


class LiveSteps(_BaseSteps):
    """The `Steps` for a terminal: a spinner while a step goes on, one line when it has ended."""

    def __init__(
        self, writer: Teller, console: Console, clock: Clock, board: Board | None = None, ask: AskProgress | None = None
    ) -> None:
        super().__init__(writer, clock, board)
        self._console = console
        self._watch = ImageWatch(board, ask, clock) if board and ask else None

    @contextmanager
    def step(self, label: str) -> Iterator[Callable[[str], None]]:
        """Tell of one step."""
        began = self._clock.monotonic()
        news = ""

        def watch(line: str) -> None:
            nonlocal news
            news = f": {line}"

        def title() -> str:
            return f"{label} ({present.span(self._clock.monotonic() - began)}){news}"

        mark = FAILED
        try:
            with _running(self._watch), shown(Picture(self._rows, title), self._console):
                yield watch
            mark = DONE
        finally:
            self._writer.note(_ended(mark, label, self._clock.monotonic() - began))

    def _rows(self) -> list[Row]:
        return [] if self._board is None else self._board.rows(self._clock.monotonic())


class TerminalReporter:
    """The `Reporter` for this process: on standard error, as the person asked for."""

    def __init__(self, say: Speaker, around: Invocation) -> None:
        self._say = say
        self._around = around
        self._steps = steps_for(say)
        self.note, self.warn = say.note, say.warn

    def step(self, label: str) -> AbstractContextManager[Watch]:
        """Show a step."""
        return self._steps.step(label)

    def show(self, images: Sequence[str], earlier: Sequence[str], *, foretold: bool) -> None:
        """Show images as the builtin engine sees them come."""
        store = store_directory(None, self._around, locate(self._around))
        board = Board(images, earlier, foretold=foretold)
        self._steps = steps_for(self._say, board, engine_at(store, (str(this_machine()),)))

    def expect(self, images: Sequence[str]) -> None:
        """Have the board wait for these."""
        self._steps.expect(images)

    @contextmanager
    def pulls(self, count: int) -> Iterator[Progress]:
        """Show how pulls go on."""
        with watching(self._say, count) as progress:
            yield progress


def steps_for(
    say: Speaker, board: Board | None = None, ask: AskProgress | None = None, clock: Clock | None = None
) -> LineSteps | LiveSteps:
    """The way to show steps that fits where standard error goes; `board` has the images that are shown beside them."""
    clock = clock or SystemClock()
    if say.quiet:
        return LineSteps(say, clock)
    if say.verbose or not may_draw():  # a spinner would turn in what programs say
        return LineSteps(say, clock, board, ask)
    return LiveSteps(say, console.Console(stderr=True), clock, board, ask)


def came(image: Finished) -> str:
    """A line about an image that has come in."""
    before, seconds = image.total - image.fetched, max(image.seconds, 0.1)
    came_in = f"{present.size(image.fetched)} in {seconds:.1f} s ({present.speed(image.fetched, seconds)})"
    if before <= 0:
        return f"{image.name}: {came_in}"
    if not image.whole:
        return f"{image.name}: {present.size(image.total)} in all, the last {came_in}"
    return f"{image.name}: {came_in}, {present.size(before)} was there"


def _running(watch: ImageWatch | None) -> AbstractContextManager[None]:
    return nullcontext() if watch is None else watch.running()


def _ended(mark: str, label: str, seconds: float) -> str:
    return f"{mark} {label} ({present.span(seconds)})"
