from pathlib import Path

import pytest

from tests.unit.backends.podmanworld import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A machine with podman and nothing in it."""
    return World.empty(tmp_path)
