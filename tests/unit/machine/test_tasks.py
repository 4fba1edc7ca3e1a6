from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from obol.machine.tasks import alive, members, spawn


class Reports(list[dict[str, Any]]):
    """What reached the exception handler of the running loop."""

    def __init__(self) -> None:
        super().__init__()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.append(context))


async def fail() -> None:
    """Raise."""
    raise ValueError("broken")


async def test_result_can_be_awaited() -> None:
    """The caller may wait for the task and take its result."""

    async def work() -> int:
        return 42

    assert await spawn(work(), name="sum") == 42


async def test_alive_names_running_tasks_only() -> None:
    """A task is listed, by its name, from its start until its end."""
    gate = asyncio.Event()
    task = spawn(gate.wait(), name="waiting")

    during = [one.get_name() for one in alive() if one is task]
    gate.set()
    await task

    assert during == ["waiting"]
    assert task not in alive()


async def test_task_outlives_forgotten_reference() -> None:
    """A task that nobody holds is not garbage-collected while it runs."""
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    spawn(work(), name="forgotten")
    gc.collect()

    await asyncio.wait_for(done.wait(), timeout=1)


async def test_exception_is_reported_at_once() -> None:
    """What a task raises reaches the loop's exception handler although nobody awaits it."""
    reports = Reports()
    task = spawn(fail(), name="doomed")

    await asyncio.wait([task])
    await asyncio.sleep(0)

    assert [report["message"] for report in reports] == ["task 'doomed' failed"]
    assert isinstance(reports[0]["exception"], ValueError)
    assert reports[0]["task"] is task


async def test_awaited_exception_is_raised_too() -> None:
    """Whoever awaits the task gets its exception."""
    Reports()

    with pytest.raises(ValueError, match="broken"):
        await spawn(fail(), name="doomed")


async def test_cancelled_task_is_not_reported() -> None:
    """To be cancelled is no failure."""
    reports = Reports()
    task = spawn(asyncio.Event().wait(), name="stopped")

    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)

    assert reports == []
    assert task not in alive()


def test_members_of_a_group_come_without_their_groups() -> None:
    """The exceptions of a group and of those within it are told in order."""
    first, second, third = ValueError("1"), KeyError("2"), OSError("3")
    group = ExceptionGroup("outer", [first, ExceptionGroup("inner", [second, third])])

    assert members(group) == [first, second, third]
