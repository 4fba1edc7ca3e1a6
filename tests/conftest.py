"""What holds for every test: limits of time, programs that may be missing, tasks that are left behind, Hypothesis."""

import asyncio
import gc
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from obol.machine import tasks
from tests import limits

SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where daemons live that are not on the PATH of an ordinary user."""

GRACE = 0.1
"""Seconds in which a task that was just cancelled may end."""

UNIT_TESTS = Path(__file__).with_name("unit")
UNIT_SECONDS = 20
OTHER_SECONDS = 120
"""A test fails after so long. A unit test waits for nothing; one of many examples computes for some seconds."""

# A shell starts what runs in its background deaf to Ctrl-C, and with it the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The workers of a run, and the programs that tests start, have the factor from here.
if limits.VARIABLE not in os.environ:
    os.environ[limits.VARIABLE] = f"{limits.measured():g}"

settings.register_profile("obol", deadline=None)
settings.register_profile("obol-ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("obol-ci" if os.environ.get("CI") else "obol")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto` is more workers than processors: half of the time goes by in waiting for programs."""
    processors = os.cpu_count() or 1
    return processors + (processors + 1) // 2


def pytest_report_header() -> str:
    """Say how patient the tests are."""
    return f"limits of time: {limits.factor():g} times those of an idle machine ({limits.VARIABLE} sets it)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test a limit, unless it names one by itself."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            seconds = UNIT_SECONDS if item.path.is_relative_to(UNIT_TESTS) else OTHER_SECONDS
            item.add_marker(pytest.mark.timeout(limits.scaled(seconds)))


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over what stays to the end.

    Thousands of collected tests made it stop everything for 0.2 s now and then, which is the limit that some of them
    have for an answer.
    """
    gc.collect()
    gc.freeze()


def find_tool(name: str) -> str | None:
    """Path of a program, or None."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_DIRECTORIES]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing, or fail it where they must be there."""
    required = os.environ.get("OBOL_REQUIRE_TOOLS") == "1" and item.get_closest_marker("soak") is None
    for marker in item.iter_markers("tool"):
        missing = [name for name in marker.args if find_tool(name) is None]
        if missing and required:
            pytest.fail(f"not installed, but OBOL_REQUIRE_TOOLS=1: {', '.join(missing)}", pytrace=False)
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Watch each asynchronous test; the others have no loop in which a task could live."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_task_watch")


@pytest.fixture
async def _task_watch() -> AsyncIterator[None]:
    """Fail a test after which tasks are still running.

    It is set up before the test's own fixtures, so it looks when these are done, but the loop is still open.
    """
    before = frozenset(tasks.alive())
    yield
    loop = asyncio.get_running_loop()
    left = [task for task in tasks.alive() if task not in before and task.get_loop() is loop]
    if not left:
        return
    _, running = await asyncio.wait(left, timeout=limits.scaled(GRACE))
    for task in running:
        task.cancel()
    if running:
        pytest.fail(f"tasks left running: {', '.join(sorted(task.get_name() for task in running))}", pytrace=False)
