import io
import re
import sys

import pytest
from rich.console import Console

from obol.cli.demo.view import DemoLines, Live, Unseen, drawing, finding, title, watching
from obol.cli.terminal.present import Speaker
from obol.demo.base import MeasuredPull
from tests.unit.cli.conftest import Screen

DIRECT = MeasuredPull("direct", 18.0, 250_000_000, 0, 1.0)
WARM = MeasuredPull("warm", 0.9, 0, 250_000_000, 20.0)


def test_words() -> None:
    """A phase is named with what it shows, and its finding has time, factor and bytes."""
    assert title("make") == "making images"
    assert title("offline") == "offline (the same, upstream unplugged)"
    assert finding(DIRECT) == "18.0 s, 250 MB from upstream"
    assert finding(WARM) == "0.9 s, 20 times faster, 0 MB from upstream"


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is a line when something begins and one when it is done, all on standard error."""
    with watching(Speaker()) as watcher:
        assert isinstance(watcher, DemoLines)
        watcher.began("make", 250_000_000)
        watcher.moved(5)
        watcher.began("warm", 250_000_000)
        watcher.ended(WARM)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "making images: 250 MB",
        "warm (each pull after that): 250 MB",
        "  0.9 s, 20 times faster, 0 MB from upstream",
    ]


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Who wants quiet gets it."""
    with watching(Speaker(quiet=True)) as watcher:
        assert isinstance(watcher, Unseen)
        watcher.began("warm", 5)
        watcher.moved(5)
        watcher.ended(WARM)

    assert capsys.readouterr() == ("", "")


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets the live watcher, on standard error."""
    terminal = Screen()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")

    with watching(Speaker()) as watcher:
        assert isinstance(watcher, Live)
        watcher.began("direct", 250_000_000)
        watcher.ended(DIRECT)

    assert "direct" in terminal.getvalue()
    assert "18.0 s" in terminal.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_live(width: int) -> None:
    """One bar at a time grows with the bytes, below the chart of the phases that are done; every line fits."""
    written = io.StringIO()
    console = Console(file=written, width=width)
    live = Live(lambda phases: drawing(phases, console))

    live.moved(1)
    live.began("direct", 100)
    live.moved(30)
    live.moved(40)

    (bar,) = live.progress.tasks
    assert (bar.description, bar.completed, bar.total) == ("direct (no cache)", 70, 100)
    live.ended(DIRECT)
    live.began("offline", 100)
    assert [bar.description for bar in live.progress.tasks] == ["offline (the same, upstream unplugged)"]
    live.progress.console.print(live.progress.get_renderable())
    titles, direct, blank, bar_line = written.getvalue().splitlines()
    assert titles.split() == ["Time", "From", "upstream"]
    assert re.fullmatch(r"direct +█+ +18\.0 s +250 MB", direct)
    assert blank == ""
    assert bar_line.startswith("offline (the")
    assert bar_line.rstrip().endswith("?")  # the speed
    assert max(map(len, written.getvalue().splitlines())) <= width - len("^C^C")
