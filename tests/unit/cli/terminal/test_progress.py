import sys

import pytest

from obol.cli.terminal import progress as progress_module
from obol.cli.terminal.present import Speaker
from obol.cli.terminal.progress import LINE_EVERY, Lines, LiveBars, came_from, watching
from obol.client.ports import BytesFrom, Progress, Silence
from obol.oci.references import ImageReference
from tests.fakes.clock import FakeClock
from tests.unit.cli.conftest import Screen
from tests.unit.cli.images import APP, LITELLM, MIB, failed, pulled

OTHER = ImageReference.parse("quay.io/team/other:1")


def pull_all(progress: Progress, clock: FakeClock) -> None:
    """One image that comes, one that does not."""
    progress.found(APP, 12 * MIB)
    progress.moved(APP, 2 * MIB, BytesFrom.CACHE)
    clock.advance(LINE_EVERY)
    progress.moved(APP, 4 * MIB, BytesFrom.UPSTREAM)
    clock.advance(1.0)
    progress.moved(APP, 6 * MIB, BytesFrom.UPSTREAM)
    progress.done(pulled(cache=2 * MIB, upstream=10 * MIB))
    progress.failed(failed())


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log there is a line when something happens, and now and then between."""
    clock = FakeClock()

    pull_all(Lines(Speaker(), clock), clock)

    assert capsys.readouterr().err.splitlines() == [
        "docker.io/team/app:1: 12.0 MiB in all",
        "docker.io/team/app:1: 50%, 6.0/12.0 MiB, 410 KiB/s, about 15 s",
        "docker.io/team/app:1: done, 10.0 MiB from upstream in 2.0 s (5.0 MiB/s), 2.0 MiB was in the cache",
        "ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable: failed: too often",
    ]


def test_bars() -> None:
    """On a terminal each image has a bar, and all have one; speeds are of what came from upstream, not of the cache."""
    clock = FakeClock()
    live = LiveBars(clock, 2)
    assert live.rows() == []
    live.found(LITELLM, 12 * MIB)
    clock.advance(2.0)
    live.moved(LITELLM, MIB, BytesFrom.CACHE)
    live.moved(LITELLM, 3 * MIB, BytesFrom.UPSTREAM)

    one, overall = live.rows()
    assert (one.name, one.present, one.total, one.speed) == (str(LITELLM), 4 * MIB, 12 * MIB, 1.5 * MIB)
    assert (overall.name, overall.present, overall.percent) == ("All images (0 of 2 done)", 4 * MIB, None)

    live.found(APP, 4 * MIB)
    assert live.rows()[-1].percent == 25
    live.done(pulled(LITELLM))
    assert [row.name for row in live.rows()] == [str(APP), "All images (1 of 2 done)"]


def test_bars_of_what_fails() -> None:
    """What is missing of an image that failed is not waited for any more; one that never began takes nothing away."""
    live = LiveBars(FakeClock(), 3)
    live.found(LITELLM, 12 * MIB)
    live.moved(LITELLM, 4 * MIB, BytesFrom.UPSTREAM)
    live.found(APP, 4 * MIB)

    live.failed(failed())
    live.failed(failed(OTHER))

    (one, overall) = live.rows()
    assert one.name == str(APP)
    assert (overall.name, overall.present, overall.total) == ("All images (2 of 3 done)", 4 * MIB, 8 * MIB)
    assert overall.percent == 50


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """The bars are drawn while pulls go on, with percent and the time that is left, and are gone in the end."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    clock = FakeClock()
    bars = LiveBars(clock, 1)
    monkeypatch.setattr(progress_module, "LiveBars", lambda *_: bars)
    bars.found(LITELLM, 12 * MIB)
    clock.advance(1.0)
    bars.moved(LITELLM, MIB, BytesFrom.UPSTREAM)

    with watching(Speaker(), 1, clock) as progress:
        assert progress is bars

    drawn = screen.getvalue()
    assert "stable" in drawn
    assert "1.0/12.0 MiB" in drawn
    assert "8%" in drawn
    assert "about 11 s" in drawn


def test_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere there are lines; with --quiet there is nothing."""
    with watching(Speaker(), 1) as progress:
        progress.found(APP, 5)
    with watching(Speaker(quiet=True), 1) as silence:
        assert isinstance(silence, Silence)

    assert capsys.readouterr().err == "docker.io/team/app:1: 5 B in all\n"


@pytest.mark.parametrize(
    ("cache", "upstream", "text"),
    [
        (12 * MIB, 0, "12.0 MiB, all of it was in the cache"),
        (0, 12 * MIB, "12.0 MiB from upstream in 2.0 s (6.0 MiB/s)"),
        (MIB, 2 * MIB, "2.0 MiB from upstream in 2.0 s (1.0 MiB/s), 1.0 MiB was in the cache"),
    ],
)
def test_came_from(cache: int, upstream: int, text: str) -> None:
    """Where an image came from is told in a few words."""
    assert came_from(pulled(cache=cache, upstream=upstream)) == text
