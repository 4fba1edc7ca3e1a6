"""Whatever the k3s backend was doing when it was killed, the next run gets to the end.

It is killed at each call of another program in turn: before that program does anything, in the middle of it, and after
it has done everything.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from obol.workloads.sources import ManifestFile
from tests.crash.killing import WHEN, killed_at_each_call
from tests.fakes.k3s import ELSEWHERE, ID, Stack, on_fresh_machine

WORKLOADS = (
    ManifestFile(
        "llm.yaml",
        '{"kind": "Namespace", "metadata": {"name": "llm"}}\n---\n'
        '{"kind": "Deployment", "metadata": {"name": "litellm", "namespace": "llm"}, "spec": {"replicas": 1}}\n',
    ),
)


async def empty(stack: Stack) -> None:
    """A machine on which nothing was ever done."""


async def running(stack: Stack) -> None:
    """A machine on which k3s runs."""
    await stack.up()


async def elsewhere(stack: Stack) -> None:
    """A machine on which k3s looks for the caches in another place."""
    await stack.up(ELSEWHERE)


async def stopped(stack: Stack) -> None:
    """A machine on which k3s has run."""
    await stack.up()
    await stack.backend.down(ID)


async def up(stack: Stack) -> None:
    """Bring up the cluster and what it is for."""
    await stack.up()
    await stack.backend.apply(stack.spec(), WORKLOADS, stack.step)


async def down(stack: Stack) -> None:
    """Stop it."""
    await stack.backend.down(ID)


async def purge(stack: Stack) -> None:
    """Remove it all."""
    await stack.backend.purge(ID, images=False)


@WHEN
@pytest.mark.parametrize(("before", "calls"), [(empty, 9), (stopped, 9), (elsewhere, 10), (running, 4)])
async def test_up(tmp_path: Path, before: Callable[[Stack], Awaitable[None]], calls: int, when: str) -> None:
    """The next `up` ends with one server that was told what is wanted now, and has the workloads."""
    stacks = await killed_at_each_call(tmp_path, on_fresh_machine, before, up, when)

    assert len(stacks) >= calls
    for stack in stacks:
        await up(stack)
        assert len(stack.machine.servers) == 1
        assert stack.machine.bridge
        assert "54100" in (stack.config / "registries.yaml").read_text()
        assert ("Deployment", "litellm") in stack.machine.applied
        starts = stack.machine.starts
        await up(stack)
        assert stack.machine.starts == starts


@WHEN
@pytest.mark.parametrize("before", [running, stopped])
async def test_purge(tmp_path: Path, before: Callable[[Stack], Awaitable[None]], when: str) -> None:
    """The next `purge` ends with nothing left of the cluster."""
    stacks = await killed_at_each_call(tmp_path, on_fresh_machine, before, purge, when)

    assert len(stacks) >= 2
    for stack in stacks:
        await purge(stack)
        assert (stack.machine.running, stack.machine.bridge) == ({}, False)
        assert not stack.machine.data.exists()
        assert list(stack.config.iterdir()) == []


@WHEN
async def test_down(tmp_path: Path, when: str) -> None:
    """The next `down` ends with nothing that runs, and the data are there."""
    stacks = await killed_at_each_call(tmp_path, on_fresh_machine, running, down, when)

    assert len(stacks) >= 3
    for stack in stacks:
        await down(stack)
        assert (stack.machine.running, stack.machine.bridge) == ({}, False)
        assert stack.machine.data.exists()


@WHEN
async def test_up_after_a_killed_purge(tmp_path: Path, when: str) -> None:
    """After a `purge` that was killed, `up` works as well."""
    for stack in await killed_at_each_call(tmp_path, on_fresh_machine, running, purge, when):
        await up(stack)

        assert len(stack.machine.servers) == 1


@WHEN
async def test_purge_after_a_killed_up(tmp_path: Path, when: str) -> None:
    """After an `up` that was killed, `purge` leaves nothing."""
    for stack in await killed_at_each_call(tmp_path, on_fresh_machine, empty, up, when):
        await purge(stack)

        assert (stack.machine.running, stack.machine.bridge) == ({}, False)
        assert not stack.machine.data.exists()
