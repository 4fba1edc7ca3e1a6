"""A unit test is done at once: nothing in it waits for the clock, a network or another process.

The limit is for those that do not end. It is long because a test of many examples, with coverage measured, on a machine
that has other work, takes several seconds without waiting for anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SECONDS = 20
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test below this directory the limit, unless it names another by itself."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))
