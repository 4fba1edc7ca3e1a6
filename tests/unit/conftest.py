"""What unit tests of several packages need."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def store() -> Iterator[Path]:
    """A directory with a path short enough for a unix socket, which pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="obol-") as directory:
        yield Path(directory) / "store"
