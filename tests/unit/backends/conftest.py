from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.backends.podmanworld import World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A machine with podman and nothing in it."""
    return World.empty(tmp_path)
