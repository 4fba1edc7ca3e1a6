"""The only place where a task is born.

A bare `asyncio.create_task` may be garbage-collected while it runs, and what it raises is shown when the loop closes,
if at all. `spawn` keeps the task until it ends and hands its exception to the loop's exception handler at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_alive: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Run `work` in the background on the running loop.

    The caller may await the task or let it be; an exception that no caller awaits is still reported.
    """
    task = asyncio.get_running_loop().create_task(work, name=name)
    _alive.add(task)
    task.add_done_callback(_retire)
    return task


def _retire(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if task.cancelled() or (problem := task.exception()) is None:
        return
    context = {"message": f"task {task.get_name()!r} failed", "exception": problem, "task": task}
    task.get_loop().call_exception_handler(context)


async def to_its_end(work: Coroutine[Any, Any, T], *, name: str, waits: Callable[[], None] | None = None) -> T:
    """Await work that does harm where it stops halfway: who is cancelled meanwhile is so when it has ended.

    `waits` is called when that begins. Who is cancelled once more does not wait any longer. Raises what the work
    raises, unless the caller was cancelled.
    """
    task = spawn(_outcome(work), name=name)
    try:
        outcome = await asyncio.shield(task)
    except asyncio.CancelledError:
        if waits is not None:
            waits()
        await asyncio.wait([task])
        raise
    if isinstance(outcome, _Failed):
        raise outcome.problem
    return outcome


@dataclass(frozen=True, slots=True)
class _Failed:
    problem: Exception


async def _outcome(work: Coroutine[Any, Any, T]) -> T | _Failed:
    """What the work comes to, so that a failure which is told of is not reported as one that no caller awaits."""
    try:
        return await work
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is raised where the work is awaited
        return _Failed(problem)


def members(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """All exceptions of a group and of the groups within it, in order.

    For `except ExceptionGroup` around a TaskGroup where one is to be raised: out of an `except*` clause it would
    come in a group again before Python 3.11.4.
    """
    found: list[Exception] = []
    for problem in group.exceptions:
        found += members(problem) if isinstance(problem, BaseExceptionGroup) else [problem]
    return found


def most_telling(problems: Sequence[Exception], *kinds: type[Exception]) -> Exception:
    """One error for several: the first one of the first of `kinds` that is among them, or else the first of all."""
    for kind in kinds:
        for problem in problems:
            if isinstance(problem, kind):
                return problem
    return problems[0]


def alive() -> tuple[asyncio.Task[Any], ...]:
    """The tasks that have not ended, for shutdown and for tests that look for leaks."""
    return tuple(_alive)


async def in_steps(work: Generator[None, None, T]) -> T:
    """The result of a computation that yields now and then, with others running in between."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        await asyncio.sleep(0)
