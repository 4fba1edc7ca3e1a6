from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from obol.cli.present import Speaker
from obol.cli.progress import LINE_EVERY, Lines, LiveBars, came_from, shortened, watching
from obol.client.base import Silence, Source
from tests.fakes.clock import FakeClock
from tests.unit.cli.conftest import Screen
from tests.unit.cli.images import APP, LITELLM, MIB, failed, pulled

if TYPE_CHECKING:
    from obol.client.base import Progress


def pull_all(progress: Progress, clock: FakeClock) -> None:
    """One image that comes, one that does not."""
    progress.found(APP, 12 * MIB)
    progress.moved(APP, 2 * MIB, Source.CACHE)
    clock.advance(LINE_EVERY)
    progress.moved(APP, 4 * MIB, Source.UPSTREAM)
    clock.advance(1.0)
    progress.moved(APP, 6 * MIB, Source.UPSTREAM)
    progress.done(pulled(cache=2 * MIB, upstream=10 * MIB))
    progress.failed(failed())


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log there is a line when something happens, and now and then between."""
    clock = FakeClock()

    pull_all(Lines(Speaker(), clock), clock)

    assert capsys.readouterr().err.splitlines() == [
        "docker.io/team/app:1: 12.0 MiB in all",
        "docker.io/team/app:1: 6.0 MiB of 12.0 MiB (upstream, 410 KiB/s)",
        "docker.io/team/app:1: done, 10.0 MiB from upstream in 2.0 s (5.0 MiB/s), 2.0 MiB were in the cache",
        "ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable: failed: too often",
    ]


def test_bars() -> None:
    """On a terminal each image has a bar with bytes, speed and source, in 80 columns; what is over has none."""
    clock, screen = FakeClock(), Screen()
    bars = Bars(console=Console(file=screen, width=80))
    live = LiveBars(bars, clock)
    live.found(LITELLM, 12 * MIB)
    clock.advance(2.0)
    live.moved(LITELLM, MIB, Source.CACHE)
    live.moved(LITELLM, 3 * MIB, Source.UPSTREAM)
    (task,) = bars.tasks
    assert (task.completed, task.total, task.description) == (4 * MIB, 12 * MIB, shortened(str(LITELLM)))
    assert task.fields == {"amount": "4.0 MiB/12.0 MiB", "rate": "1.5 MiB/s", "source": Source.UPSTREAM}

    live.done(pulled(LITELLM))

    assert bars.tasks == []
    live.failed(failed())


def test_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bars are drawn while pulls go on, and are gone in the end."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    clock = FakeClock()

    with watching(Speaker(), clock) as progress:
        assert isinstance(progress, LiveBars)
        progress.found(LITELLM, 12 * MIB)
        progress.moved(LITELLM, MIB, Source.UPSTREAM)
        progress._bars.refresh()

    drawn = screen.getvalue()
    assert "…m-non_root:main-v1.83.14-stable" in drawn
    assert "1.0 MiB/12.0 MiB" in drawn
    assert "upstream" in drawn


def test_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere there are lines; with --quiet there is nothing."""
    with watching(Speaker()) as progress:
        progress.found(APP, 5)
    with watching(Speaker(quiet=True)) as silence:
        assert isinstance(silence, Silence)

    assert capsys.readouterr().err == "docker.io/team/app:1: 5 B in all\n"


@pytest.mark.parametrize(
    ("cache", "upstream", "text"),
    [
        (12 * MIB, 0, "12.0 MiB, all of it was in the cache"),
        (0, 12 * MIB, "12.0 MiB from upstream in 2.0 s (6.0 MiB/s)"),
        (MIB, 2 * MIB, "2.0 MiB from upstream in 2.0 s (1.0 MiB/s), 1.0 MiB were in the cache"),
    ],
)
def test_came_from(cache: int, upstream: int, text: str) -> None:
    """Where an image came from is told in a few words."""
    assert came_from(pulled(cache=cache, upstream=upstream)) == text


def test_shortened() -> None:
    """Of a long name the end is shown."""
    assert [shortened("abcdef", 6), shortened("abcdefg", 6)] == ["abcdef", "…cdefg"]
