"""`obol demo`: the main job on a bare machine, with nothing but this program."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.later import later
from obol.cli.parser import Verbs
from obol.cli.terminal.present import Speaker
from obol.cli.verb import verb
from obol.errors import ObolError

if TYPE_CHECKING:
    from obol.cli.demo import view
    from obol.demo import base, scenario
    from obol.demo import chart as drawn
    from obol.demo.base import DemoSettings, Result, Watcher
    from obol.machine import regular
    from obol.wiring import caches
else:
    view, caches = later("obol.cli.demo.view"), later("obol.wiring.caches")
    regular = later("obol.machine.regular")
    base, drawn, scenario = (later(f"obol.demo.{name}") for name in ("base", "chart", "scenario"))

app = Verbs()

Chart = Annotated[
    Path | None, typer.Option("--chart", metavar="FILE", help="Draw the bar chart into this file too, as SVG.")
]
Rate = Annotated[str, typer.Option("--rate", metavar="BITS", help="The link's bits per second, in all.")]
ConnectionRate = Annotated[
    str, typer.Option("--connection-rate", metavar="BITS", help="Bits per second of one connection.")
]
Latency = Annotated[str, typer.Option("--latency", metavar="TIME", help="The time of one round trip.")]
Size = Annotated[
    str, typer.Option("--size", metavar="BYTES", help="Bytes of all images, or a part of a real stack's, as in 25%.")
]

_COLUMNS = 80
"""Of the chart at most, and where the output is no terminal."""
_EXCUSE = (
    "A busy machine can do that, and so can a link about as fast as the machine: try again when it is idle, "
    "or with a slower link."
)


def play(settings: DemoSettings, watcher: Watcher) -> Result:
    """Carry a demonstration out."""
    return scenario.run_until_interrupted(lambda: scenario.demonstrate(settings, caches.builtin_cache, watcher))


@verb(app)
def demo(
    say: Speaker,
    chart: Chart = None,
    rate: Rate = "200M",
    connection_rate: ConnectionRate = "50M",
    latency: Latency = "20ms",
    size: Size = "250M",
) -> None:
    """Pull a stack's images without a cache, and with one: cold, warm and offline.

    Needs no Docker and no internet: a registry on this machine serves images made for the purpose, with the layers of
    a real stack, as slowly as the internet would. Takes less than a minute, and leaves nothing behind.
    """
    link = base.Link(
        base.parse_rate("--rate", rate),
        base.parse_rate("--connection-rate", connection_rate),
        base.parse_latency("--latency", latency),
    )
    settings = base.DemoSettings(base.parse_size("--size", size), link)
    if chart is not None:
        _check_writable(chart)
    with view.watching(say) as watcher:
        result = play(settings, watcher)
    say.result(result, lambda: list(_human(result)))
    if chart is not None:
        _draw(chart, result, say)
    for sentence in result.missed:
        say.note(f"warning: {sentence}")
    if result.missed:
        say.note(_EXCUSE)


def _check_writable(chart: Path) -> None:
    """A minute later is too late to tell."""
    if chart.is_dir() or not chart.parent.is_dir():
        raise _unwritable(chart, "it is a directory" if chart.is_dir() else f"there is no directory {chart.parent}")
    try:
        regular.find_ours(chart)
    except OSError as problem:
        raise _unwritable(chart, problem.strerror or str(problem)) from problem


def _draw(chart: Path, result: Result, say: Speaker) -> None:
    try:
        regular.replace(regular.find_ours(chart), drawn.svg(result).encode())
    except OSError as problem:
        raise _unwritable(chart, problem.strerror or str(problem)) from problem
    say.note(f"The chart is in {chart}")


def _unwritable(chart: Path, why: str) -> ObolError:
    return ObolError(f"the chart cannot be written to {chart}", why=why, hint="name another file: `--chart FILE`")


def _human(result: Result) -> Iterator[str]:
    """The chart, and what it is of: each number once."""
    columns = min(_COLUMNS, shutil.get_terminal_size((_COLUMNS, 24)).columns)
    yield from drawn.bars(result.phases, columns, blocks=_can_write(drawn.FULL + drawn.EIGHTHS))
    yield ""
    yield from textwrap.wrap(f"{drawn.what(result)}, on {drawn.link(result)}.", columns, break_long_words=False)


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
