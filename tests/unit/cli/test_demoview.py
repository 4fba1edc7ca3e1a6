from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from obol.cli.demoview import Lines, Live, Unseen, finding, title, watching
from obol.cli.present import Speaker
from obol.demo.base import Phase
from tests.unit.cli.conftest import Screen

if TYPE_CHECKING:
    import pytest

DIRECT = Phase("direct", 18.0, 250_000_000, 0, 1.0)
WARM = Phase("warm", 0.9, 0, 250_000_000, 20.0)


def test_words() -> None:
    """A phase is named with what it shows, and its finding has time, factor and bytes."""
    assert title("make") == "making images"
    assert title("offline") == "offline (the same, upstream unplugged)"
    assert finding(DIRECT) == "18.0 s, 250 MB from upstream"
    assert finding(WARM) == "0.9 s, 20 times faster, 0 MB from upstream"


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is a line when something begins and one when it is done, all on standard error."""
    with watching(Speaker()) as watcher:
        assert isinstance(watcher, Lines)
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
    assert "18.0 s, 250 MB from upstream" in terminal.getvalue()


def test_live() -> None:
    """One bar at a time grows with the bytes; a line stays for each phase that is done."""
    written = io.StringIO()
    progress = Progress(console=Console(file=written, width=80))
    live = Live(progress)

    live.moved(1)
    live.began("direct", 100)
    live.moved(30)
    live.moved(40)

    (bar,) = progress.tasks
    assert (bar.description, bar.completed, bar.total) == ("direct (no cache)", 70, 100)
    live.ended(DIRECT)
    live.began("cold", 100)
    assert [bar.description for bar in progress.tasks] == ["cold (first pull through the cache)"]
    assert re.fullmatch(r"direct +18\.0 s, 250 MB from upstream", written.getvalue().strip())
