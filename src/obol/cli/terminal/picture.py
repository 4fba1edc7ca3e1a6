"""What is drawn again and again on a terminal: a step with its spinner, and bars for images, as wide as it is now.

Every line fits: one that is too long is cut, because a terminal that folds it would leave a rest behind each time.
There is room at its end, too: where somebody presses Ctrl-C, the terminal writes ^C there.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from obol.cli.terminal.layout import ASCII, Glyphs, layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions
    from rich.text import Text

    from obol.cli.terminal.meter import Row

REDRAWS = 8
"""A second."""
MARGIN = 4
"""Columns that stay free at the end of a line."""
_SPARE = 3
"""Lines that are left for what is above."""


def may_draw() -> bool:
    """Whether standard error is a terminal on which lines can be taken back."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


class Picture:
    """A line with a spinner, if `title` gives one, and bars below it."""

    def __init__(self, rows: Callable[[], Sequence[Row]], title: Callable[[], str] | None = None) -> None:
        from rich.spinner import Spinner

        self._rows = rows
        self._title = title
        self._spinner = Spinner("dots")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw it as it is now."""
        from rich.text import Text

        width = max(1, options.max_width - MARGIN)
        if self._title is not None:
            frame = self._spinner.render(console.get_time())
            line = Text.assemble(frame if isinstance(frame, Text) else "", " ", self._title(), no_wrap=True)
            line.truncate(width, overflow="crop" if options.ascii_only else "ellipsis")
            yield line
        glyphs = ASCII if options.ascii_only else Glyphs()
        if rows := self._rows():
            for drawn in layout(rows, width, console.height - _SPARE, glyphs):
                text = Text(drawn, no_wrap=True, overflow="crop")
                text.highlight_regex(f"{glyphs.done}{{3,}}", "green")
                text.highlight_regex(f"{glyphs.rest}{{3,}}", "dim")
                yield text


@contextmanager
def shown(picture: Picture, console: Console) -> Iterator[None]:
    """Draw a picture for as long as the block runs; it is gone in the end."""
    from rich.live import Live

    with Live(picture, console=console, transient=True, refresh_per_second=REDRAWS):
        yield
