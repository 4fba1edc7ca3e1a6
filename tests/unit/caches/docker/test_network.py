import pytest

from obol.caches.docker.network import LABEL, SHARED, ensure_network, find_network, remove_network
from obol.machine.docker.cli import Docker
from obol.machine.docker.errors import DockerFailed, NoAddressPool
from tests.fakes.docker import Json, all_containers, all_networks, container, network
from tests.fakes.runner import FakeRunner

LIST = "docker network ls --no-trunc --filter name=^obol-net$ --format {{json .}}"
CREATE = "docker network create --label obol.network=shared obol-net"


def ours(id_: str = "n1", *, created: str = "2026-01-01T00:00:00Z", attached: dict[str, str] | None = None) -> Json:
    """obol-net as we make it."""
    return network("obol-net", id_=id_, labels={LABEL: SHARED}, created=created, attached=attached)


@pytest.fixture
def runner() -> FakeRunner:
    """What the docker command line runs on."""
    return FakeRunner()


async def test_found(runner: FakeRunner) -> None:
    """A network that is there is used, by its exact name."""
    all_networks(runner, ours())

    assert (await ensure_network(Docker(runner))).id == "n1"
    assert runner.lines == [LIST, "docker network inspect n1"]


async def test_made(runner: FakeRunner) -> None:
    """One that is not there is made, with our label."""
    all_networks(runner)
    all_networks(runner, ours())

    assert (await ensure_network(Docker(runner))).id == "n1"
    assert runner.lines == [LIST, CREATE, LIST, "docker network inspect n1"]


async def test_somebody_was_faster(runner: FakeRunner) -> None:
    """A network that somebody makes in the same moment is used."""
    all_networks(runner)
    all_networks(runner, ours())
    runner.script("docker", "network", "create", code=1, stderr="network with name obol-net already exists")

    assert (await ensure_network(Docker(runner))).id == "n1"


async def test_twins(runner: FakeRunner) -> None:
    """Of two networks that were made at once the oldest stays, whoever looks; the other goes if nobody is on it."""
    old, new, used = (
        ours("n9", created="2026-01-01"),
        ours("n1", created="2026-01-02"),
        ours("n2", created="2026-01-03", attached={"c": "node"}),
    )
    all_networks(runner, used, new, old)

    found = await find_network(Docker(runner))

    assert found is not None
    assert found.id == "n9"
    assert runner.lines[-1] == "docker network rm n1"


async def test_vanished(runner: FakeRunner) -> None:
    """A network that is removed as soon as it is made is an error."""
    all_networks(runner)

    with pytest.raises(DockerFailed, match="is not there"):
        await ensure_network(Docker(runner))


async def test_no_pool(runner: FakeRunner) -> None:
    """An exhausted pool can be told apart."""
    all_networks(runner)
    runner.script(
        "docker", "network", "create", code=1, stderr="all predefined address pools have been fully subnetted"
    )

    with pytest.raises(NoAddressPool):
        await ensure_network(Docker(runner))


async def test_removed(runner: FakeRunner) -> None:
    """It is removed when no container, running or stopped, is on it."""
    all_networks(runner, ours())
    all_containers(runner)

    assert await remove_network(Docker(runner))
    assert "docker ps --all --no-trunc --filter network=n1 --format {{json .}}" in runner.lines
    assert runner.lines[-1] == "docker network rm n1"


@pytest.mark.parametrize("found", [[], [network("obol-net")], [ours(attached={"c": "node"})]])
async def test_not_removed(runner: FakeRunner, found: list[Json]) -> None:
    """It stays while something runs on it, and where a person made it."""
    all_networks(runner, *found)

    assert not await remove_network(Docker(runner))
    assert not any(" rm " in line for line in runner.lines)


async def test_needed_by_stopped(runner: FakeRunner) -> None:
    """A stopped container keeps it."""
    all_networks(runner, ours())
    all_containers(runner, container("node", status="exited"))

    assert not await remove_network(Docker(runner))
    assert not any(" rm " in line for line in runner.lines)


async def test_somebody_came(runner: FakeRunner) -> None:
    """Where Docker itself refuses, somebody has come meanwhile, and that is no error."""
    all_networks(runner, ours())
    all_containers(runner)
    runner.script("docker", "network", "rm", code=1, stderr="network obol-net has active endpoints")

    assert not await remove_network(Docker(runner))
