import json
from dataclasses import replace
from pathlib import Path

import pytest

from obol.caches.containers.container import ContainerEnvironment, ContainerStart, ServingContainer
from obol.caches.containers.plan import RegistryContainer
from obol.errors import EngineUnresponsive, PortTaken
from obol.machine.docker.errors import DockerAbsent, DockerFailed
from obol.machine.docker.values import Container, read_containers
from tests.fakes.docker import Json, absent, all_networks, network, there
from tests.unit.caches.containerworld import GHCR, HUB, NETWORK, World

RUN = (
    "docker run --detach --pull never --name k3d-obol-docker-io.localhost --network obol-net --restart unless-stopped "
    "--publish 127.0.0.1:{port}:5000"
)
NAME = HUB.name


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing is there yet."""
    return World(tmp_path)


def look(one: Json) -> Container:
    """The same as a value."""
    return read_containers(json.dumps([one]))[0]


async def bring_up(world: World, found: Json | None = None, *, cache: RegistryContainer = HUB) -> ServingContainer:
    """Bring one up, which is found so."""
    environment = ContainerEnvironment(world.clock, world.ports, world.ask)
    starting = ContainerStart(world.docker, world.plan(cache), NETWORK, environment)
    return await starting.bring_up(cache, look(found) if found else None, cache.port)


async def test_made(world: World) -> None:
    """A container that is not there is made over its directory, from an image that is there by then."""
    world.runner.script("docker", "image", code=1, stderr="Error: No such image")
    there(world.runner, "container", world.seen(HUB))
    world.silent[54100] = 2

    assert await bring_up(world) == ServingContainer(HUB, 54100, "made")
    assert world.changes()[0] == "docker pull --quiet registry:3"
    assert world.changes()[1].startswith(RUN.format(port=54100))
    assert world.changes()[1].endswith("registry:3")
    assert (world.root / "docker.io").is_dir()
    assert world.asked == [(54100, "/v2/")] * 3


async def test_left_alone(world: World) -> None:
    """What runs, on our network, and answers is not touched."""
    assert await bring_up(world, world.seen(HUB)) == ServingContainer(HUB, 54100, "found")
    assert world.runner.lines == []


async def test_joins_the_network(world: World) -> None:
    """What runs elsewhere, as the original system's does, is put on our network too."""
    await bring_up(world, world.seen(HUB, networks=("bridge",)))

    assert world.changes() == [f"docker network connect n1 {NAME}"]


@pytest.mark.parametrize("status", ["exited", "created"])
async def test_started(world: World, status: str) -> None:
    """What was stopped is started."""
    there(world.runner, "container", world.seen(HUB))

    assert await bring_up(world, world.seen(HUB, status=status)) == ServingContainer(HUB, 54100, "started")
    assert world.changes() == [f"docker start {NAME}"]


async def test_dangling_network(world: World) -> None:
    """A network that is gone is left, by its name and not by force; the container is on ours before it starts."""
    all_networks(world.runner, network("obol-net", id_="n1"))
    there(world.runner, "container", world.seen(HUB))

    serving = await bring_up(world, world.seen(HUB, status="exited", networks=("old",)))

    assert serving.deed == "started"
    assert world.changes() == [
        f"docker network disconnect net-old {NAME}",
        f"docker network connect n1 {NAME}",
        f"docker start {NAME}",
    ]


@pytest.mark.parametrize("command", [("network", "ls"), ("network", "connect")])
async def test_kept_where_docker_fails(world: World, command: tuple[str, str]) -> None:
    """That networks cannot be listed, or joined, is no fault of the container: it is left as it is."""
    world.runner.script("docker", *command, code=1, stderr="Error response from daemon: it is busy")
    all_networks(world.runner, network("obol-net", id_="n1"))

    with pytest.raises(DockerFailed):
        await bring_up(world, world.seen(HUB, status="exited", networks=("old",)))

    assert not any(line.startswith(("docker rm", "docker start")) for line in world.changes())


async def test_never_started(world: World) -> None:
    """A container that was made and never started is on our network by its name, and is started as it is."""
    made = world.seen(HUB, status="created")
    made["NetworkSettings"]["Networks"] = {"obol-net": {"NetworkID": ""}}
    all_networks(world.runner, network("obol-net", id_="n1"))
    there(world.runner, "container", world.seen(HUB))

    assert (await bring_up(world, made)).deed == "started"
    assert world.changes() == [f"docker start {NAME}"]


async def test_beyond_repair(world: World) -> None:
    """What cannot be started is thrown away and made anew, on the port that it had."""
    world.runner.script("docker", "start", code=1, stderr="it is broken")
    stopped = world.seen(HUB, status="exited")
    stopped["HostConfig"]["PortBindings"]["5000/tcp"][0]["HostPort"] = "40009"

    assert await bring_up(world, stopped) == ServingContainer(HUB, 40009, "made")
    assert world.changes()[-2] == f"docker rm --force {NAME}"
    assert world.changes()[-1].startswith(RUN.format(port=40009))


async def test_port_was_taken_meanwhile(world: World) -> None:
    """A stopped container whose port somebody took is made anew on another one."""
    world.runner.script("docker", "start", code=1, stderr="Bind for 127.0.0.1:54100 failed: port is already allocated")
    world.runner.script("docker", "run", code=125, stderr="port is already allocated")
    world.runner.script("docker", "run", code=0)
    world.ports.taken.add(("127.0.0.1", 54100))

    assert await bring_up(world, world.seen(HUB, status="exited")) == ServingContainer(HUB, 40000, "made")
    assert [line.split("--")[0] for line in world.changes()] == [
        f"docker start {NAME}",
        *["docker rm ", "docker run "] * 2,
    ]


async def test_any_port(world: World) -> None:
    """A cache that may have any port gets a free one."""
    assert (await bring_up(world, cache=replace(HUB, port=0))).port == 40000


async def test_ports_taken_again_and_again(world: World) -> None:
    """Each port that is taken meanwhile costs an attempt, and after some of them it is enough."""
    world.runner.script("docker", "run", code=125, stderr="port is already allocated")

    with pytest.raises(PortTaken, match="again and again"):
        await bring_up(world)

    assert sum(line.startswith("docker run") for line in world.runner.lines) == 4
    assert sum(line.startswith("docker rm --force") for line in world.runner.lines) == 4


async def test_no_port_at_all(world: World) -> None:
    """Where no port is free, that is an error."""
    world.runner.script("docker", "run", code=125, stderr="port is already allocated")
    world.ports.next_free.clear()

    with pytest.raises(PortTaken, match="no free port"):
        await bring_up(world)


async def test_somebody_was_faster(world: World) -> None:
    """A container that somebody else made in the same moment is used."""
    world.runner.script("docker", "run", code=125, stderr='The container name "/x" is already in use by container "y"')
    there(world.runner, "container", world.seen(HUB))

    assert await bring_up(world) == ServingContainer(HUB, 54100, "found")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('panic: Get "https://x/v2/": no such host\n\ngoroutine 1 [running]:\n', "panic: Get .* no such host"),
        ("error: a setting cannot be used\n  see: docs/settings.md\n", "error: a setting cannot be used"),
        ("exec format error\n", "exec format error"),
    ],
)
async def test_crash_loop(world: World, said: str, told: str) -> None:
    """Docker calls running what it restarts again and again; it is told by its status, with its last words."""
    world.runner.script("docker", "logs", stderr=said)

    with pytest.raises(EngineUnresponsive, match=f"ends as soon as it is started: {told}"):
        await bring_up(world, world.seen(HUB, status="restarting"))
    assert world.changes() == []


async def test_crashes_after_its_start(world: World) -> None:
    """A container that is made and crashes is noticed as soon as Docker tells."""
    world.silent[54100] = 99
    there(world.runner, "container", world.seen(HUB))
    there(world.runner, "container", world.seen(HUB, status="restarting"))

    with pytest.raises(EngineUnresponsive, match="it says nothing"):
        await bring_up(world)
    assert len(world.clock.sleeps) == 1


async def test_silence(world: World) -> None:
    """A container that runs and does not answer is given ten seconds."""
    world.silent[54100] = 999
    there(world.runner, "container", world.seen(HUB))

    with pytest.raises(EngineUnresponsive, match="not answered on port 54100 for 10 seconds") as caught:
        await bring_up(world, world.seen(HUB))
    assert caught.value.hint == f"`docker logs {NAME}`"
    assert 10 < world.clock.now - 1000 < 11


async def test_removed_while_we_wait(world: World) -> None:
    """A container that somebody removes is not waited for."""
    world.silent[54100] = 99
    absent(world.runner, "container", NAME)

    with pytest.raises(EngineUnresponsive, match="another program removed it"):
        await bring_up(world)


async def test_paused(world: World) -> None:
    """A paused container is left to who paused it."""
    with pytest.raises(EngineUnresponsive, match="paused") as caught:
        await bring_up(world, world.seen(HUB, status="paused"))
    assert caught.value.hint == f"`docker unpause {NAME}`"


async def test_foreign(world: World) -> None:
    """A container of our name that stands for another registry is neither used nor removed."""
    theirs = world.seen(GHCR) | {"Name": f"/{NAME}"}

    with pytest.raises(EngineUnresponsive, match="not obol's"):
        await bring_up(world, theirs)
    assert world.changes() == []


async def test_another_upstream(world: World) -> None:
    """A container of ours is made anew when its upstream is to be another one, even while it runs."""
    before = world.seen(HUB)
    before["Config"]["Env"] = ["REGISTRY_PROXY_REMOTEURL=https://mirror.example"]

    assert await bring_up(world, before) == ServingContainer(HUB, 54100, "made")
    assert world.changes()[0] == f"docker rm --force {NAME}"


@pytest.mark.parametrize(
    ("storage", "named"), [("/home/other/cache/docker.io", "/home/other/cache/docker.io"), ("", "no directory")]
)
@pytest.mark.parametrize("trouble", ["it does not start", "its port is taken", "another upstream"])
async def test_over_another_root(world: World, storage: str, named: str, trouble: str) -> None:
    """A container over another cache root is not thrown away, whatever is wrong with it."""
    theirs = world.seen(HUB, status="exited")
    theirs["Mounts"] = [{"Source": storage, "Destination": "/var/lib/registry"}] if storage else []
    if trouble == "another upstream":
        theirs["Config"]["Env"] = ["REGISTRY_PROXY_REMOTEURL=https://mirror.example"]
    said = "port is already allocated" if trouble == "its port is taken" else "it is broken"
    world.runner.script("docker", "start", code=1, stderr=said)

    with pytest.raises(EngineUnresponsive, match=f"keeps its content in {named}.*does not make it anew") as caught:
        await bring_up(world, theirs)
    assert f"`docker rm -f {NAME}`" in caught.value.hint
    assert not any(" rm " in line or " run " in line for line in world.changes())


async def test_not_published(world: World) -> None:
    """A container that publishes no port cannot be looked after."""
    hidden = world.seen(HUB)
    hidden["HostConfig"]["PortBindings"] = None

    with pytest.raises(EngineUnresponsive, match="publishes no port"):
        await bring_up(world, hidden)


async def test_no_image(world: World) -> None:
    """Without the image nothing is made."""
    world.runner.script("docker", "image", code=1, stderr="Error: No such image")
    world.runner.script("docker", "pull", code=1, stderr="manifest not found")

    with pytest.raises(DockerAbsent):
        await bring_up(world)
