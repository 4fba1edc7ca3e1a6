import asyncio
import gc
from typing import Any

import pytest

from obol.errors import ObolError
from obol.machine.tasks import alive, members, most_telling, spawn, to_its_end
from tests.limits import scaled


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

    await asyncio.wait_for(done.wait(), timeout=scaled(1))


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


class Work:
    """Something that takes until it is told to end."""

    def __init__(self) -> None:
        self.began, self.gate, self.done = asyncio.Event(), asyncio.Event(), False

    async def run(self, failure: Exception | None = None) -> str:
        self.began.set()
        await self.gate.wait()
        self.done = True
        if failure:
            raise failure
        return "made"


async def test_to_its_end() -> None:
    """What the work comes to is what its caller gets; a failure is raised, and reported to nobody else."""
    reports = Reports()
    work = Work()
    work.gate.set()

    assert await to_its_end(work.run(), name="whole") == "made"
    for failure in (ObolError("refused"), OSError("refused")):
        with pytest.raises(type(failure), match="refused"):
            await to_its_end(work.run(failure), name="whole")

    assert reports == []


@pytest.mark.parametrize("failure", [None, ObolError("refused")])
async def test_cancelled_at_its_end(failure: ObolError | None) -> None:
    """Who is cancelled in the middle is so when the work has ended, however it did."""
    reports = Reports()
    work = Work()
    caller = spawn(to_its_end(work.run(failure), name="whole"), name="caller")
    await work.began.wait()

    caller.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waited = not caller.done()
    work.gate.set()
    await asyncio.wait([caller])

    assert (waited, work.done, caller.cancelled()) == (True, True, True)
    assert reports == []


async def test_cancelled_twice_is_now() -> None:
    """Who insists does not wait; the work is what the end of the loop cancels."""
    work = Work()
    caller = spawn(to_its_end(work.run(), name="whole"), name="caller")
    await work.began.wait()

    caller.cancel()
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])

    (left,) = [task for task in alive() if task.get_name() == "whole"]
    assert (caller.cancelled(), work.done) == (True, False)
    left.cancel()
    await asyncio.wait([left])


def test_members_of_a_group_come_without_their_groups() -> None:
    """The exceptions of a group and of those within it are told in order."""
    first, second, third = ValueError("1"), KeyError("2"), OSError("3")
    group = ExceptionGroup("outer", [first, ExceptionGroup("inner", [second, third])])

    assert members(group) == [first, second, third]


def test_most_telling() -> None:
    """The first kind that is asked for counts, then the order; without any of them it is the first error."""
    first, second, third = ValueError("a"), KeyError("b"), KeyError("c")

    assert most_telling([first, second, third], OSError, KeyError, ValueError) is second
    assert most_telling([first, second], OSError) is first
