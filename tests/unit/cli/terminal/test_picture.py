from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from obol.cli.terminal.meter import Row
from obol.cli.terminal.picture import Picture, may_draw, shown
from tests.unit.cli.conftest import Screen

MIB = 1 << 20
ROWS = [
    Row("ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable", 54 * MIB, 120 * MIB, 7.1 * MIB),
    Row("All images (5 of 9 in the cache)", 83 * MIB, 135 * MIB, 8 * MIB),
]
TITLE = "Deploying the workloads (12 s): litellm: http://127.0.0.1:4000/health/readiness does not answer yet [x]"


def drawn(picture: Picture, width: int, encoding: str = "utf-8") -> list[str]:
    """What a terminal of so many columns shows."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Console(file=file, width=width, height=24, force_terminal=True, color_system=None).print(picture)
    file.seek(0)
    return file.read().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits(width: int) -> None:
    """A step and its images are drawn for the width of the terminal; no line is folded, and brackets are no markup."""
    lines = drawn(Picture(lambda: ROWS, lambda: TITLE), width)

    assert len(lines) == (3 if width == 120 else 5)
    assert max(len(line.rstrip()) for line in lines) <= width - len("^C^C")
    assert "Deploying the workloads (12 s)" in lines[0]
    assert (lines[0].rstrip()[-1:] == "…") is (width < 120)
    assert "45%" in "".join(lines)
    assert "about 10 s" in "".join(lines)


def test_only_a_step() -> None:
    """Where no image is on its way, there is the step alone; where there is no step, the images are."""
    assert len(drawn(Picture(list, lambda: "Stopping"), 80)) == 1
    assert len(drawn(Picture(lambda: ROWS), 80)) == 4


@pytest.mark.parametrize(("term", "draws"), [("xterm-256color", True), ("dumb", False), ("", True)])
def test_where_to_draw(monkeypatch: pytest.MonkeyPatch, term: str, draws: bool) -> None:
    """Where lines cannot be taken back nothing is drawn, and neither is it into a file."""
    monkeypatch.setenv("TERM", term)
    assert not may_draw()

    monkeypatch.setattr(sys, "stderr", Screen())

    assert may_draw() is draws


def test_ascii() -> None:
    """A terminal of few characters gets bars of these."""
    lines = drawn(Picture(lambda: ROWS), 80, "ascii")

    assert "#####" in lines[1]
    assert all(line.isascii() for line in lines)


def test_shown_and_gone() -> None:
    """While the block runs it is drawn, and in the end the lines are taken back."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)

    with shown(Picture(lambda: ROWS), console):
        pass

    assert "120 MiB" in screen.getvalue()
    assert "\x1b[1A\x1b[2K" in screen.getvalue().rpartition("120 MiB")[2]
