import ctypes
import platform
import socket
from pathlib import Path

import pytest

from obol.machine.system import machine_id, return_large_pieces


def test_by_its_file(tmp_path: Path) -> None:
    """A machine is known by what its system has written down."""
    (tmp_path / "machine-id").write_text("0123abcd\n")

    assert machine_id(tmp_path / "machine-id") == "0123abcd"


def test_by_its_name(tmp_path: Path) -> None:
    """Without that, as in containers and on macOS, it is known by its name."""
    (tmp_path / "machine-id").write_text("")

    assert machine_id(tmp_path / "machine-id") == socket.gethostname()
    assert machine_id(tmp_path / "none") == socket.gethostname()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_asked() -> None:
    """Glibc takes the size."""
    assert return_large_pieces()


@pytest.mark.parametrize("problem", [AttributeError, OSError, TypeError])
def test_another_library(problem: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library does not know it, nothing happens."""

    def fail(_: object) -> None:
        raise problem

    monkeypatch.setattr(ctypes, "CDLL", fail)

    assert not return_large_pieces()
