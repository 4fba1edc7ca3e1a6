from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from obol.machine.thismachine import machine_id

if TYPE_CHECKING:
    from pathlib import Path


def test_by_its_file(tmp_path: Path) -> None:
    """A machine is known by what its system has written down."""
    (tmp_path / "machine-id").write_text("0123abcd\n")

    assert machine_id(tmp_path / "machine-id") == "0123abcd"


def test_by_its_name(tmp_path: Path) -> None:
    """Without that, as in containers and on macOS, it is known by its name."""
    (tmp_path / "machine-id").write_text("")

    assert machine_id(tmp_path / "machine-id") == socket.gethostname()
    assert machine_id(tmp_path / "none") == socket.gethostname()
