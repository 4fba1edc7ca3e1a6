from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from obol.cli.present import Speaker
from obol.cli.steps import LineSteps, LiveSteps, steps_for
from tests.fakes.clock import FakeClock


@dataclass
class Notes:
    """A writer that keeps its lines."""

    lines: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


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


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Where standard error is no terminal, or nothing is to be said, no spinner turns."""
    with steps_for(Speaker(), FakeClock()).step("A"):
        pass
    with steps_for(Speaker(quiet=True), FakeClock()).step("B"):
        pass

    assert capsys.readouterr().err == "A …\n✓ A (0 s)\n"
