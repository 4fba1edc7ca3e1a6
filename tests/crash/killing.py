"""Whoever works on a machine is killed there, at each call of another program in turn."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from tests.fakes.k3d import FakeMachine, Killed

WHEN = pytest.mark.parametrize("when", ["before", "during", "after"])


class OnMachine(Protocol):
    """Something that works on a machine."""

    @property
    def machine(self) -> FakeMachine: ...


S = TypeVar("S", bound=OnMachine)


async def killed_at_each_call(
    folder: Path,
    fresh: Callable[[Path], S],
    before: Callable[[S], Awaitable[None]],
    do: Callable[[S], Awaitable[None]],
    when: str,
) -> list[S]:
    """Machines on which somebody was killed, one for each call that it takes, and which were then left to us."""
    stacks = []
    for number in range(100):
        stack = fresh(folder / str(number))
        await before(stack)
        stack.machine.ran.clear()
        stack.machine.kill_at, stack.machine.kill_when = number, when
        try:
            await do(stack)
        except Killed:
            stack.machine.kill_at = -1
            stacks.append(stack)
            continue
        break
    return stacks
