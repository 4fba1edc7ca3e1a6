from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.caches.traces import has_traces

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("directory", "expected"), [("builtin", False), ("gateway", False), ("docker.io", True), ("", False)]
)
def test_traces(tmp_path: Path, directory: str, expected: bool) -> None:
    """A directory that is not the builtin engine's own is that of a container."""
    (tmp_path / directory).mkdir(exist_ok=True)
    (tmp_path / "obol.toml").touch()

    assert has_traces(tmp_path) is expected
    assert not has_traces(tmp_path / "nowhere")
