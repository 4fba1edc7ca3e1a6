from __future__ import annotations

from obol.rendering.names import home_mark, stack_name


def test_stack_name() -> None:
    """A stack's parts are told from those of others by their names."""
    assert stack_name("brave-otter") == "obol-stack-brave-otter"


def test_home_mark() -> None:
    """A directory has one mark on each machine, which tells nothing of its name and can be a label."""
    mark = home_mark("m", "/home/me/.config/obol")

    assert mark == home_mark("m", "/home/me/.config/obol")
    assert len({mark, home_mark("n", "/home/me/.config/obol"), home_mark("m", "/x"), home_mark("m", "/\udcff")}) == 4
    assert mark.isalnum()
