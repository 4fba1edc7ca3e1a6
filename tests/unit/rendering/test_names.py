from __future__ import annotations

from obol.rendering.names import stack_name


def test_stack_name() -> None:
    """A stack's parts are told from those of others by their names."""
    assert stack_name("brave-otter") == "obol-stack-brave-otter"
