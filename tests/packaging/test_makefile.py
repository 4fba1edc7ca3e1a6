"""What `make` installs for whom."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.tool("make")

ROOT = Path(__file__).parents[2]


def planned(*targets: str) -> str:
    """What `make` would run in a fresh checkout."""
    argv = ["make", "--dry-run", "--always-make", f"--directory={ROOT}", *targets]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_the_demo_installs_what_obol_needs_and_no_more() -> None:
    """Somebody who only wants to look does not wait for linters and type checkers."""
    commands = planned("demo")

    assert "--requirement requirements.lock" in commands
    assert "requirements-dev.lock" not in commands
    assert "-m obol demo" in commands


def test_the_tests_install_the_rest() -> None:
    """What was made for the demo is no obstacle to the tests, which add the tools."""
    assert "--requirement requirements-dev.lock" in planned("test")
