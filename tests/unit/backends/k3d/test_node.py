import pytest

from obol.backends.k3d.node import NodeDocker
from obol.machine.docker.cli import Docker
from obol.machine.docker.errors import DockerFailed, DockerNotRunning
from obol.rendering.k3d import node_archive
from tests.fakes import docker as fake
from tests.fakes.runner import FakeRunner

NAME = "obol-stack-calm-otter"
NODE = f"k3d-{NAME}-server-0"
PS = f"docker ps --all --no-trunc --filter label=k3d.cluster={NAME} --format {{{{json .}}}}"
VOLUMES = f"docker volume ls --quiet --filter label=k3d.cluster={NAME}"
NETWORKS = f"docker network ls --no-trunc --filter name=^k3d-{NAME}$ --format {{{{json .}}}}"
CONTAINERS = ",".join(
    f'{{"Id":"{id_}","Name":"/x","State":{{"Status":"exited"}},"Config":{{}},"HostConfig":{{}},"NetworkSettings":{{}}}}'
    for id_ in ("c1", "c2")
)


async def test_mirrors() -> None:
    """A node's file is read in the same way whether the node runs or not."""
    runner = FakeRunner()
    runner.script("docker", "cp", stdout=node_archive("mirrors:\n  docker.io:\n    endpoint: [http://a:1]\n"))

    assert await NodeDocker(runner, Docker(runner)).mirrors(NODE) == {"docker.io": ("http://a:1",)}
    assert runner.lines == [f"docker cp {NODE}:/etc/rancher/k3s/registries.yaml -"]


async def test_no_mirrors() -> None:
    """A node that has no such file was told of no mirrors; a Docker that does not answer is another matter."""
    runner = FakeRunner()
    runner.script("docker", "cp", code=1, stderr="Error: Could not find the file /etc/rancher/k3s/registries.yaml")
    runner.script("docker", "cp", code=1, stderr="Cannot connect to the Docker daemon")

    assert await NodeDocker(runner, Docker(runner)).mirrors(NODE) == {}
    with pytest.raises(DockerNotRunning):
        await NodeDocker(runner, Docker(runner)).mirrors(NODE)


async def test_addresses() -> None:
    """Nodes that run are known by their addresses on every network; one that was stopped has none."""
    runner = FakeRunner()
    running, stopped = fake.container("a"), fake.container("b", status="exited")
    for one, address in ((running, "172.18.0.3"), (stopped, "172.18.0.4")):
        one["NetworkSettings"]["Networks"] = {"obol-net": {"NetworkID": "n", "IPAddress": address}, "off": None}
    fake.all_containers(runner, running, stopped)

    assert await NodeDocker(runner, Docker(runner)).addresses(NAME) == {"172.18.0.3"}
    assert runner.lines[0] == PS


async def test_write_registries() -> None:
    """The file goes to the node through standard input, with the directories that it is in."""
    runner = FakeRunner()

    await NodeDocker(runner, Docker(runner)).write_registries(NODE, "mirrors: {}\n")

    assert runner.lines == [f"docker cp - {NODE}:/etc"]
    assert runner.ran[0].stdin == node_archive("mirrors: {}\n")


async def test_write_refused() -> None:
    """What Docker refuses is told."""
    runner = FakeRunner()
    runner.script("docker", "cp", code=1, stderr="Error response from daemon: read-only file system")

    with pytest.raises(DockerFailed, match="read-only file system"):
        await NodeDocker(runner, Docker(runner)).write_registries(NODE, "mirrors: {}\n")


@pytest.mark.parametrize("in_use", [False, True])
async def test_remains(in_use: bool) -> None:
    """Containers and volumes go by their label, the network by its whole name unless somebody is on it."""
    runner = FakeRunner()
    runner.script("docker", "ps", stdout='{"ID":"c1"}\n{"ID":"c2"}\n')
    runner.script("docker", "container", "inspect", stdout=f"[{CONTAINERS}]")
    runner.script("docker", "volume", "ls", stdout=f"k3d-{NAME}-images\n")
    runner.script("docker", "network", "ls", stdout='{"ID":"n1"}\n')
    runner.script("docker", "network", "inspect", stdout=f'[{{"Id":"n1","Name":"k3d-{NAME}"}}]')
    if in_use:
        runner.script("docker", "network", "rm", code=1, stderr=f"network k3d-{NAME} id n1 has active endpoints")

    await NodeDocker(runner, Docker(runner)).remove_remains(NAME)

    assert await NodeDocker(runner, Docker(runner)).has_remains(NAME)
    assert [line for line in runner.lines if " inspect " not in line] == [
        *[PS, "docker rm --force --volumes c1 c2"],
        *[VOLUMES, f"docker volume rm --force k3d-{NAME}-images"],
        *[NETWORKS, "docker network rm n1"],
        PS,
    ]


async def test_no_remains() -> None:
    """Where nothing is left nothing is removed."""
    runner = FakeRunner()

    await NodeDocker(runner, Docker(runner)).remove_remains(NAME)

    assert runner.lines == [PS, VOLUMES, NETWORKS]
    assert not await NodeDocker(runner, Docker(runner)).has_remains(NAME)


async def test_rejoin() -> None:
    """What was on a network that was made anew is taken off the former one and put on the new one."""
    runner = FakeRunner()
    fake.all_networks(runner, fake.network("obol-net", id_="new"))
    fake.all_containers(
        runner,
        fake.container("k3d-x-server-0", status="exited", networks={"obol-net": "old"}),
        fake.container("k3d-x-serverlb", status="exited", networks={"obol-net": "new"}),
        fake.container("k3d-x-tools", status="created", networks={"obol-net": "", "other": "o"}),
    )

    assert await NodeDocker(runner, Docker(runner)).rejoin("x", "obol-net")

    assert [line for line in runner.lines if "connect" in line] == [
        "docker network disconnect obol-net k3d-x-server-0",
        "docker network connect new k3d-x-server-0",
    ]


@pytest.mark.parametrize("there", [True, False])
async def test_nothing_to_rejoin(there: bool) -> None:
    """A cluster that is on the network is left alone; without a network there is nothing to join."""
    runner = FakeRunner()
    fake.all_networks(runner, *([fake.network("obol-net", id_="new")] if there else []))
    fake.all_containers(runner, fake.container("a", networks={"obol-net": "new" if there else "old"}))

    assert not await NodeDocker(runner, Docker(runner)).rejoin("x", "obol-net")

    assert not any("connect" in line for line in runner.lines)
