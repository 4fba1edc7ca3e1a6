from __future__ import annotations

import ctypes
import platform

import pytest

from obol.machine.memory import return_large_pieces


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
