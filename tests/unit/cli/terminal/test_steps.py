import io
import sys
import threading
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from obol.cli.terminal import steps as steps_module
from obol.cli.terminal.board import Board, Finished
from obol.cli.terminal.present import Speaker
from obol.cli.terminal.steps import LINE_EVERY, LineSteps, LiveSteps, came, steps_for
from obol.registry.control.api import ImageProgress, ProgressStatus
from tests.fakes.clock import FakeClock
from tests.unit.cli.conftest import Screen


@dataclass
class Notes:
    """A writer that keeps its lines."""

    lines: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"! {text}")


def test_lines_tell_what_begins_what_is_new_and_what_has_ended() -> None:
    """A line that says the same again is not repeated."""
    notes, clock = Notes(), FakeClock()

    with LineSteps(notes, clock).step("Starting the cluster") as watch:
        watch("one node")
        watch("one node")
        watch("two nodes")
        clock.advance(65)

    assert notes.lines == [
        "Starting the cluster …",
        "  one node",
        "  two nodes",
        "✓ Starting the cluster (1 min 5 s)",
    ]


def test_a_failed_step_is_marked() -> None:
    """What a step raises goes on, and its line says that it failed."""
    notes = Notes()

    with pytest.raises(RuntimeError), LineSteps(notes, FakeClock()).step("Deploying"):
        raise RuntimeError

    assert notes.lines[-1] == "✗ Deploying (0 s)"


def test_live_steps_leave_one_line() -> None:
    """On a terminal a step leaves the line of its end, whatever brackets its label has."""
    notes = Notes()
    console = Console(file=io.StringIO(), force_terminal=True, width=80)

    with LiveSteps(notes, console, FakeClock()).step("Pulling [1]") as watch:
        watch("half [2]")

    assert notes.lines == ["✓ Pulling [1] (0 s)"]


NAME = "ghcr.io/team/app:1"
MIB = 1 << 20


def reading(present: int) -> ProgressStatus:
    """An engine that has so many of the image's hundred MiB."""
    return ProgressStatus(7, (ImageProgress(NAME, 100 * MIB, present, present, 100 * MIB, present, 1),), ())


def test_images_in_a_log() -> None:
    """Beside a step there is a line about all images now and then, and one for each that has come in."""
    notes, clock, board = Notes(), FakeClock(), Board([NAME])
    steps = LineSteps(notes, clock, board, lambda _: None)

    for megabytes in (0, 10, 20, 20, 100):
        board.take(reading(megabytes * MIB), clock.now)
        steps.tell()
        clock.advance(LINE_EVERY / 2)

    assert notes.lines == [
        "  All images (0 of 1 in the cache): 20%, 20.0/100 MiB, 2.0 MiB/s, about 40 s",
        "  ghcr.io/team/app:1: 100 MiB in 20.0 s (5.0 MiB/s)",
    ]


@pytest.mark.parametrize("live", [True, False])
def test_which_images_come(live: bool) -> None:
    """Both kinds of steps pass on which images come, and do without a board."""
    board, console = Board([NAME]), Console(file=io.StringIO())
    held = ImageProgress(NAME, 100, 100, 100, 100, 100, 0)
    board.take(ProgressStatus(7, (held,), ()), 0.0)
    for known in (None, board):
        steps = LiveSteps(Notes(), console, FakeClock(), known) if live else LineSteps(Notes(), FakeClock(), known)
        assert board.rows(0.0) == []
        steps.expect([NAME])

    assert [row.percent for row in board.rows(0.0)] == [100]


def test_an_image_of_which_a_part_was_there() -> None:
    """What was in the cache is not said to have come."""
    notes, clock, board = Notes(), FakeClock(), Board([NAME])
    steps = LineSteps(notes, clock, board, lambda _: None)
    for megabytes in (40, 70, 100):
        board.take(reading(megabytes * MIB), clock.now)
        clock.advance(1.0)

    steps.tell()

    assert notes.lines == ["  ghcr.io/team/app:1: 60.0 MiB in 2.0 s (30.0 MiB/s), 40.0 MiB was there"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Finished("a:1", 3 * MIB, 3 * MIB, 0.0), "a:1: 3.0 MiB in 0.1 s (30.0 MiB/s)"),
        (Finished("a:1", 9 * MIB, 8 * MIB, 2.0), "a:1: 8.0 MiB in 2.0 s (4.0 MiB/s), 1.0 MiB was there"),
        (
            Finished("a:1", 9 * MIB, 8 * MIB, 2.0, whole=False),
            "a:1: 9.0 MiB in all, the last 8.0 MiB in 2.0 s (4.0 MiB/s)",
        ),
    ],
)
def test_an_image_that_came(image: Finished, said: str) -> None:
    """What is not known to have been there is not said to have been, and no speed is of no time."""
    assert came(image) == said


def test_the_engine_is_asked_during_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is asked while a step runs, and not between steps."""
    monkeypatch.setattr(steps_module, "LOOK_EVERY", 0.001)
    asked = threading.Event()

    def ask(_images: object, /) -> None:
        asked.set()

    steps = LineSteps(Notes(), FakeClock(), Board([NAME]), ask)
    with steps.step("Deploying"):
        assert asked.wait(1.5)

    assert not [thread for thread in threading.enumerate() if thread.name == "images"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_images_on_a_terminal(width: int) -> None:
    """Beside the spinner there are bars, and how long the step goes on; all of them are gone when it ends."""
    notes, clock, board = Notes(), FakeClock(), Board([NAME])
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=24, color_system=None)
    steps = LiveSteps(notes, console, clock, board, lambda _: reading(50 * MIB))
    for megabytes in (0, 50):
        board.take(reading(megabytes * MIB), clock.now)
        clock.advance(5.0)

    with steps.step("Deploying the workloads") as watch:
        clock.advance(1.0)
        watch("litellm: ready [1]")

    shown = file.getvalue()
    assert "Deploying the workloads (1 s): litellm: ready [1]" in shown
    assert " 50%" in shown
    assert "50.0/100 MiB" in shown
    assert notes.lines == ["✓ Deploying the workloads (1 s)"]


def test_what_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal has a picture, but not where programs are heard; with --quiet no engine is asked."""
    monkeypatch.setattr(sys, "stderr", Screen())
    board = Board([NAME])

    assert isinstance(steps_for(Speaker(), board, lambda _: None), LiveSteps)
    assert isinstance(steps_for(Speaker(verbose=True), board, lambda _: None), LineSteps)
    quiet = steps_for(Speaker(quiet=True), board, lambda _: None)
    assert isinstance(quiet, LineSteps)
    assert quiet._watch is None


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Where standard error is no terminal, or nothing is to be said, no spinner turns."""
    with steps_for(Speaker(), clock=FakeClock()).step("A"):
        pass
    with steps_for(Speaker(quiet=True), clock=FakeClock()).step("B"):
        pass

    assert capsys.readouterr().err == "A …\n✓ A (0 s)\n"
