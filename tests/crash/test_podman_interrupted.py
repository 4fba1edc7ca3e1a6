"""Podman, interrupted before or after each call, and what the next command makes of it."""

from pathlib import Path

import pytest

from tests.fakes.podman import Interruption
from tests.unit.backends.podmanworld import LITELLM_POD, PROMETHEUS_POD, STACK, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A machine with podman and nothing in it."""
    return World.empty(tmp_path)


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("call", range(19))
async def test_interrupted_up_is_completed_by_the_next(world: World, call: int, after: bool) -> None:
    """Wherever up was interrupted, running it again completes it."""
    world.podman.interrupted_at, world.podman.interrupted_after = call, after
    with pytest.raises((Interruption, BaseExceptionGroup)):
        await world.up()
    world.podman.interrupted_at = None

    await world.up()

    assert {name: pod.status for name, pod in world.podman.pods.items()} == {
        LITELLM_POD: "Running",
        PROMETHEUS_POD: "Running",
    }
    assert list(world.podman.secrets) == [f"obol-stack-{STACK}.llm.litellm-keys"]


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("call", range(11))
async def test_interrupted_purge_is_completed_by_the_next(world: World, call: int, after: bool) -> None:
    """Wherever purge was interrupted, running it again leaves nothing behind."""
    await world.up()
    world.podman.ran.clear()
    world.podman.interrupted_at, world.podman.interrupted_after = call, after
    with pytest.raises(Interruption):
        await world.backend.purge(STACK, images=True)
    world.podman.interrupted_at = None

    await world.backend.purge(STACK, images=True)

    left = (world.podman.pods, world.podman.secrets, world.podman.volumes, world.podman.images)
    assert not any(left)
    assert set(world.podman.networks) == {"podman"}


@pytest.mark.parametrize("verb", ["kube play", "pod start"])
async def test_a_start_that_was_interrupted_is_no_start(tmp_path: Path, verb: str) -> None:
    """A pod may say that it runs while nothing leads to it: one whose start was interrupted is made anew."""
    world, twin = (World(tmp_path / name) for name in ("config", "twin"))
    for one in (world, twin):
        one.config.mkdir()
        await one.up()
        await (one.backend.down(STACK) if verb == "pod start" else one.backend.purge(STACK, images=False))
    begun = len(world.podman.ran)
    await twin.up()
    at = next(at for at, line in enumerate(twin.podman.lines) if at >= begun and line.startswith(verb))
    world.podman.interrupted_at, world.podman.interrupted_after = at, True
    with pytest.raises(Interruption):
        await world.up()
    assert world.podman.pods[LITELLM_POD].status == "Running"
    world.podman.interrupted_at = None
    world.podman.ran.clear()

    await world.up()

    made = [line.rpartition("/")[2] for line in world.podman.lines if line.startswith("kube play")]
    assert "litellm.yaml" in made
    world.podman.ran.clear()
    await world.up()
    assert not [line for line in world.podman.lines if line.startswith(("kube play", "pod start"))]
