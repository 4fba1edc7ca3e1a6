from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from obol.machine.commands import User
from obol.machine.detached import detach

if TYPE_CHECKING:
    from pathlib import Path


def test_detach(tmp_path: Path) -> None:
    """A detached program has a session of its own, no input, and prints to our file."""
    log = tmp_path / "log"
    code = "import os, sys; print(os.getsid(0) == os.getpid(), os.getcwd(), sys.stdin.read() == '', os.environ['A'])"
    with log.open("wb") as output:
        child = detach([sys.executable, "-c", code], env={"A": "b"}, output=output.fileno())

        assert child.wait() == 0
    assert log.read_text() == "True / True b\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_detach_as_somebody_else(tmp_path: Path) -> None:
    """Root can start a program for another user, without root's groups."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = detach(
            ["/bin/sh", "-c", "id -u; id -G"],
            env={"PATH": "/bin:/usr/bin"},
            output=output.fileno(),
            account=User(65534, 65533),
        )

        assert child.wait() == 0
    assert log.read_text() == "65534\n65533\n"
