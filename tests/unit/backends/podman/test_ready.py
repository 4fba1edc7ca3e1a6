from datetime import UTC, datetime

import pytest

from obol.backends.podman.ready import LATELY, READY_WITHIN
from obol.backends.ports import Workload
from obol.errors import ObolError
from obol.machine.commands import Completed
from obol.workloads.sources import ManifestFile
from tests.fakes.podman import refused
from tests.unit.backends.podmanworld import LITELLM_POD, STACK, World


async def test_not_ready_in_time(world: World) -> None:
    """A workload that does not get ready is told of with what it answered and said last; it is left running."""
    world.answers[4000] = 503
    await world.up(ManifestFile("mine.yaml", ""))
    key = (world.config / "litellm-master-key").read_text().strip()
    world.podman.logs = f"\x1b[31mthe database is gone\x1b[0m\nkey {key}\n"

    with pytest.raises(ObolError, match="litellm is not ready") as caught:
        await world.up()

    assert "http://127.0.0.1:4000/health/readiness says 503 after 600 seconds" in caught.value.why
    assert caught.value.why.endswith("it said last:\n  the database is gone\n  key …")
    assert f"podman logs {LITELLM_POD}-litellm` and at litellm.yaml, which it is made of" in caught.value.hint
    assert world.podman.pods[LITELLM_POD].status == "Running"
    assert sum(world.clock.sleeps) == READY_WITHIN
    assert "prometheus: ready" in world.lines
    assert "litellm: http://127.0.0.1:4000/health/readiness says 503 yet" in world.lines


async def test_ends_again_and_again(world: World) -> None:
    """A container that was restarted many times is not waited for any longer, whatever else podman says."""
    world.answers[4000] = None
    world.podman.restarts = 3
    world.podman.refusing["logs"] = refused("no such container")

    with pytest.raises(ObolError) as caught:
        await world.up()

    assert caught.value.why == "its container ends again and again: it was started again 3 times"
    assert sum(world.clock.sleeps) < 10


async def test_restarts_that_cannot_be_counted(world: World) -> None:
    """An answer of podman that is not understood while we wait does not end the wait."""
    world.answers[4000] = None
    world.podman.refusing["container inspect"] = Completed(0, "{", "")

    with pytest.raises(ObolError, match="does not answer after 600 seconds"):
        await world.up()


@pytest.mark.parametrize(
    ("status", "restarts", "why"),
    [(None, 0, "does not answer"), (None, 1, "does not answer, ended 1 time"), (503, 4, "says 503, ended 4 times")],
)
async def test_look_at_a_pod_that_does_not_answer(world: World, status: int | None, restarts: int, why: str) -> None:
    """A pod whose container runs is not ready unless it answers; it is told how often it has ended."""
    await world.up()
    world.answers[4000] = status
    world.podman.restarts = restarts

    first, second = (await world.backend.details(STACK)).workloads

    assert first == Workload("litellm", 0, 1, why)
    assert second == Workload("prometheus", 1, 1, url="http://127.0.0.1:9090")


@pytest.mark.parametrize("spoilt", [True, False])
async def test_look_at_a_pod_that_cannot_be_asked(world: World, spoilt: bool) -> None:
    """Without a known probe, a pod is not ready for a while after its container was started again."""
    await world.up()
    for file in (world.config / "podman").glob("*.readiness"):
        if spoilt:
            file.write_text("{")
        else:
            file.unlink()
    world.podman.restarts = 2
    assert [one.ready for one in (await world.backend.details(STACK)).workloads] == [1, 1]

    world.podman.started = datetime.fromtimestamp(world.clock.wall() - LATELY / 2, UTC).isoformat()

    first = (await world.backend.details(STACK)).workloads[0]
    assert first == Workload("litellm", 0, 1, "ended 2 times")


async def test_look_that_podman_does_not_help(world: World) -> None:
    """Where starts cannot be counted, it is still told that the pod does not answer."""
    await world.up()
    world.answers[4000] = None
    world.podman.refusing["container inspect"] = Completed(0, "{", "")

    assert (await world.backend.details(STACK)).workloads[0] == Workload("litellm", 0, 1, "does not answer")
