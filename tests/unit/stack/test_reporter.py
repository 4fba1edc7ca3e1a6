from obol.stack.reporter import Notes
from tests.unit.stack.world import FakeReporter


def test_each_sentence_is_told_at_once_and_kept() -> None:
    """A sentence is shown when it arises, once, and is part of the result."""
    steps = FakeReporter()
    tell = Notes(steps)

    tell("one")
    assert steps.warned == ["one"]
    tell.all(["two", "one"])

    assert steps.warned == tell.told == ["one", "two"]
