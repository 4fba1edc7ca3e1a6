"""A unit test is done at once: nothing in it waits for the clock, a network or another process.

The limit is for those that do not end. It is long because a test of many examples, with coverage measured, on a machine
that has other work, takes several seconds without waiting for anything.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 20
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test below this directory the limit, unless it names another by itself."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture
def store() -> Iterator[Path]:
    """A directory with a path short enough for a unix socket, which pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="obol-") as directory:
        yield Path(directory) / "store"
