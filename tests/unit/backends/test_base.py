from __future__ import annotations

from obol.backends.base import Program


def test_program() -> None:
    """A program answers, is installed without answering, or is not there."""
    found = [Program("docker", version="27.0"), Program("docker", trouble="no daemon"), Program("docker")]

    assert [(one.installed, one.answers) for one in found] == [(True, True), (True, False), (False, False)]
