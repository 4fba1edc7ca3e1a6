"""Whatever the k3d backend was doing when it was killed, the next run gets to the end.

It is killed at each call of another program in turn: before that program does anything, in the middle of it, and after
it has done everything.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from obol.rendering.k3d import mirrors_in, node_archive
from obol.workloads.sources import packaged
from tests.crash.killing import WHEN, killed_at_each_call
from tests.fakes.k3dstack import ID, IMAGES, MIRRORS, NAME, Stack, on_fresh_machine

WANTED = {mirror.registry: (mirror.endpoint,) for mirror in MIRRORS}


def fresh(folder: Path) -> Stack:
    """A machine that reaches the caches, and no registry."""
    stack = on_fresh_machine(folder)
    stack.machine.reachable = {"127.0.0.1:"}
    return stack


async def empty(stack: Stack) -> None:
    """A machine on which nothing was ever done."""
    stack.machine.images.clear()


async def crowded(stack: Stack) -> None:
    """A machine on which somebody takes a port at the last moment."""
    stack.machine.bound = {8443}


async def stopped(stack: Stack) -> None:
    """A machine whose cluster was stopped."""
    stack.holds(runs=False)


async def elsewhere(stack: Stack) -> None:
    """A machine whose cluster looks for the caches in another place."""
    stack.holds('mirrors:\n  "docker.io":\n    endpoint:\n      - "http://172.31.0.1:54100"\n')


async def running(stack: Stack) -> None:
    """A machine whose cluster runs."""
    stack.holds()


async def up(stack: Stack) -> None:
    """Bring up the cluster and what it is for."""
    await stack.backend.up(stack.spec(), stack.step)
    await stack.backend.apply(stack.spec(), packaged(), stack.step)


async def purge(stack: Stack) -> None:
    """Remove it all."""
    await stack.backend.purge(ID, images=False)


@WHEN
@pytest.mark.parametrize(("before", "calls"), [(empty, 17), (crowded, 20), (stopped, 4), (elsewhere, 6)])
async def test_up(tmp_path: Path, before: Callable[[Stack], Awaitable[None]], calls: int, when: str) -> None:
    """The next `up` ends with a cluster that runs, is wired, and has the workloads."""
    stacks = await killed_at_each_call(tmp_path, fresh, before, up, when)

    assert len(stacks) >= calls
    for stack in stacks:
        await up(stack)
        cluster = stack.machine.clusters[NAME]
        assert (cluster.whole, cluster.servers, cluster.balancer) == (True, True, True)
        assert mirrors_in(node_archive(cluster.registries)) == WANTED
        assert ("Deployment", "litellm") in stack.machine.applied
        assert before is not empty or stack.machine.images >= IMAGES
        assert {path.name for path in stack.config.iterdir()} == {
            "kubeconfig.yaml",
            "registries.yaml",
            "litellm-master-key",
        }


@WHEN
@pytest.mark.parametrize("before", [running, stopped])
async def test_purge(tmp_path: Path, before: Callable[[Stack], Awaitable[None]], when: str) -> None:
    """The next `purge` ends with nothing left of the cluster."""
    stacks = await killed_at_each_call(tmp_path, fresh, before, purge, when)

    assert len(stacks) >= 4
    for stack in stacks:
        await purge(stack)
        assert stack.machine.clusters == {}
        assert stack.machine.volumes == set()


@WHEN
async def test_up_after_a_killed_purge(tmp_path: Path, when: str) -> None:
    """After a `purge` that was killed, `up` works as well."""
    for stack in await killed_at_each_call(tmp_path, fresh, running, purge, when):
        await up(stack)

        assert stack.machine.clusters[NAME].servers


@WHEN
async def test_purge_after_a_killed_up(tmp_path: Path, when: str) -> None:
    """After an `up` that was killed, `purge` leaves nothing."""
    for stack in await killed_at_each_call(tmp_path, fresh, empty, up, when):
        await purge(stack)

        assert stack.machine.clusters == {}
        assert stack.machine.volumes == set()
