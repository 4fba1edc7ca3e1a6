"""The rules of tests/conftest.py, seen from a pytest run of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAD = """
import asyncio
import pytest
from obol.machine.tasks import spawn

"""


def run(tmp_path: Path, body: str, *, strict: bool = False, patience: str = "1") -> subprocess.CompletedProcess[str]:
    """Run pytest on a test module of this body, with our conftest as a plugin."""
    (tmp_path / "test_it.py").write_text(HEAD + body)
    environment = {name: value for name, value in os.environ.items() if name != "OBOL_REQUIRE_TOOLS"}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"} | ({"OBOL_REQUIRE_TOOLS": "1"} if strict else {})
    environment["OBOL_TEST_PATIENCE"] = patience
    options = (
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-q",
        "-o",
        "asyncio_mode=auto",
        "-rA",
    )
    settings = ("-o", "markers=tool(name): x\nsoak: x", "--rootdir", str(tmp_path), "-c", os.devnull)
    command = [sys.executable, "-m", "pytest", *options, *settings, "test_it.py"]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


NEEDS_TOOLS = """
@pytest.fixture
def server():
    raise RuntimeError("set up without its program")

@pytest.mark.tool("sh")
def test_there(): pass

@pytest.mark.tool("no-such-program")
def test_missing(server): pass
"""
BUILT_BY_SOAK = """
@pytest.mark.soak
@pytest.mark.tool("no-such-program")
def test_missing(): pass
"""


def test_missing_tool_skips(tmp_path: Path) -> None:
    """A test whose program is not installed is skipped with the reason, before its fixtures are set up."""
    result = run(tmp_path, NEEDS_TOOLS)

    assert result.returncode == 0, result.stdout
    assert "1 passed, 1 skipped" in result.stdout
    assert "not installed: no-such-program" in result.stdout


def test_missing_tool_fails_where_tools_are_required(tmp_path: Path) -> None:
    """Where every program must be there, a missing one is a failure."""
    result = run(tmp_path, NEEDS_TOOLS, strict=True)

    assert result.returncode == 1, result.stdout
    assert "not installed, but OBOL_REQUIRE_TOOLS=1: no-such-program" in result.stdout


def test_missing_tool_of_soak_always_skips(tmp_path: Path) -> None:
    """A program that only a soak builds may be missing also where tools are required."""
    result = run(tmp_path, BUILT_BY_SOAK, strict=True)

    assert "1 skipped" in result.stdout, result.stdout


def test_leaked_task_fails(tmp_path: Path) -> None:
    """A test that leaves a task running fails and names it; one that was just cancelled is no leak."""
    result = run(
        tmp_path,
        """
async def test_leak(): spawn(asyncio.Event().wait(), name="left-behind")

async def test_cancelled(): spawn(asyncio.Event().wait(), name="cancelled").cancel()

async def test_ended(): await spawn(asyncio.sleep(0), name="ended")
""",
    )

    assert result.returncode == 1, result.stdout
    assert "3 passed, 1 error" in result.stdout
    assert "tasks left running: left-behind" in result.stdout


def test_fixture_may_own_tasks(tmp_path: Path) -> None:
    """A task that a fixture starts and ends is no leak; one that a fixture forgets is."""
    result = run(
        tmp_path,
        """
@pytest.fixture
async def tidy():
    task = spawn(asyncio.Event().wait(), name="tidy")
    yield
    task.cancel()

@pytest.fixture
async def careless():
    yield spawn(asyncio.Event().wait(), name="careless")

async def test_tidy(tidy): pass

async def test_careless(careless): pass
""",
    )

    assert "2 passed, 1 error" in result.stdout, result.stdout
    assert "tasks left running: careless" in result.stdout


@pytest.mark.parametrize(("home", "limit"), [("test_it.py", 50), ("elsewhere", 300)])
def test_every_test_has_a_limit(tmp_path: Path, home: str, limit: int) -> None:
    """The environment's factor scales the limit that a test has without naming one, short below tests/unit."""
    body = f"""
import tests.conftest
tests.conftest.UNIT_TESTS = tests.conftest.Path(__file__).with_name({home!r})

def test_plain(request): print("limit is", request.node.get_closest_marker("timeout").args[0])

@pytest.mark.timeout(9)
def test_named(request): print("named is", request.node.get_closest_marker("timeout").args[0])
"""

    result = run(tmp_path, body, patience="2.5")

    assert f"limit is {limit}.0" in result.stdout
    assert "named is 9" in result.stdout
