from __future__ import annotations

from obol.stack.telling import Telling
from tests.unit.stack.clusterworld import FakeSteps


def test_each_sentence_is_told_at_once_and_kept() -> None:
    """A sentence is shown when it arises, once, and is part of the result."""
    steps = FakeSteps()
    tell = Telling(steps)

    tell("one")
    assert steps.warned == ["one"]
    tell.all(["two", "one"])

    assert steps.warned == tell.notes == ["one", "two"]
