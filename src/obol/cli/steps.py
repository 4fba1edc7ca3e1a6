"""Steps of a long command, on standard error: a spinner on a terminal, lines otherwise, nothing with --quiet."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from obol.cli import present
from obol.machine.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from obol.cli.present import Speaker
    from obol.cli.progress import Writer
    from obol.machine.clock import Clock
    from obol.stack.lifecycle import Steps

DONE, FAILED = "✓", "✗"


class LineSteps:
    """The `Steps` for logs: a line when a step begins, when something new is known of it, and when it has ended."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

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
            yield watch
            mark = DONE
        finally:
            self._writer.note(_ended(mark, label, self._clock.monotonic() - began))


class LiveSteps:
    """The `Steps` for a terminal: a spinner while a step goes on, one line when it has ended."""

    def __init__(self, writer: Writer, console: Console, clock: Clock) -> None:
        self._writer = writer
        self._console = console
        self._clock = clock

    @contextmanager
    def step(self, label: str) -> Iterator[Callable[[str], None]]:
        """Tell of one step."""
        from rich.markup import escape

        began = self._clock.monotonic()
        mark = FAILED
        try:
            with self._console.status(escape(label)) as spinner:
                yield lambda line: spinner.update(escape(f"{label}: {line}"))
            mark = DONE
        finally:
            self._writer.note(_ended(mark, label, self._clock.monotonic() - began))


def steps_for(say: Speaker, clock: Clock | None = None) -> Steps:
    """The way to show steps that fits where standard error goes."""
    clock = clock or SystemClock()
    if say.quiet or say.verbose or not sys.stderr.isatty():  # a spinner would turn in what programs say
        return LineSteps(say, clock)
    from rich.console import Console

    return LiveSteps(say, Console(stderr=True), clock)


def _ended(mark: str, label: str, seconds: float) -> str:
    return f"{mark} {label} ({present.span(seconds)})"
