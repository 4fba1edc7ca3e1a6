from dataclasses import replace
from pathlib import Path

import pytest

from obol.caches.containers.engine import ContainerSeen, ContainersEngine
from obol.caches.containers.plan import RegistryContainer
from obol.caches.reachable import Substitute, recall, remember
from obol.errors import DependencyMissing
from obol.machine.docker.errors import DockerNotRunning
from obol.machine.ports import Holder
from obol.rendering.registries import Mirror
from tests.fakes.docker import absent, all_containers, container, there
from tests.fakes.runner import FakeRunner
from tests.unit.caches.containerworld import GHCR, HUB, NETWORK, PUSH, QUAY, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing is there yet."""
    return World(tmp_path)


def make(directory: Path) -> Path:
    """Make a directory."""
    directory.mkdir()
    return directory


def engine(world: World, *caches: RegistryContainer) -> ContainersEngine:
    """The unit under test."""
    plan = replace(world.plan(*caches), loopback={"docker.io": 40100})
    return ContainersEngine(world.docker, plan, clock=world.clock, probe=world.ports, ask=world.ask)


def are_there(world: World, *caches: RegistryContainer) -> None:
    """These run."""
    for cache in caches:
        there(world.runner, "container", world.seen(cache))


def are_absent_at_first(world: World, *caches: RegistryContainer) -> None:
    """These are there as soon as they are made."""
    for cache in caches:
        absent(world.runner, "container", cache.name)
        there(world.runner, "container", world.seen(cache))


async def test_first_start(world: World) -> None:
    """All are made; nodes are told in the order of the plan."""
    are_absent_at_first(world, HUB, GHCR, QUAY, PUSH)

    started = await engine(world, HUB, GHCR, QUAY, PUSH).start(NETWORK)

    assert [one.deed for one in started.serving] == ["made"] * 4
    assert started.mirrors == (
        Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000"),
        Mirror("ghcr.io", "http://k3d-obol-ghcr-io.localhost:5000"),
        Mirror("quay.io", "http://k3d-obol-quay-io.localhost:5000"),
        Mirror("localhost:54103", "http://k3d-obol-local.localhost:5000", takes_pushes=True),
    )
    assert started.loopback == {"docker.io": 54100, "ghcr.io": 54101, "quay.io": 54102, "localhost:54103": 54103}
    assert (started.left_out, started.substitutes, started.notes) == ((), (), ())
    made = [line for line in world.changes() if line.startswith("docker run")]
    assert len(made) == 4
    assert not any("privileged" in line for line in made)
    assert not (world.root / "containers").exists()


async def test_second_start(world: World) -> None:
    """What runs is left alone."""
    are_there(world, HUB, GHCR)

    started = await engine(world, HUB, GHCR).start(NETWORK)

    assert [one.deed for one in started.serving] == ["found", "found"]
    assert world.changes() == []


async def test_one_fails(world: World) -> None:
    """One that cannot be had is left out, with the reason; the others serve."""
    are_there(world, HUB)
    there(world.runner, "container", world.seen(GHCR, status="restarting"))
    world.runner.script("docker", "logs", stdout="panic: no such host\n")

    started = await engine(world, HUB, GHCR).start(NETWORK)

    assert [mirror.registry for mirror in started.mirrors] == ["docker.io"]
    assert str(started.left_out[0]) == (
        "ghcr.io is pulled directly: k3d-obol-ghcr-io.localhost cannot be used: it ends as soon as it is started: "
        "panic: no such host (`docker logs k3d-obol-ghcr-io.localhost`)"
    )


async def test_no_docker(world: World) -> None:
    """Without Docker there is no such engine at all."""
    with pytest.raises(DependencyMissing):
        await ContainersEngine(replace(world, runner=FakeRunner(missing={"docker"})).docker, world.plan(HUB)).start(
            NETWORK
        )
    world.runner.script("docker", code=1, stderr="Cannot connect to the Docker daemon")
    with pytest.raises(DockerNotRunning):
        await engine(world, HUB).start(NETWORK)


async def test_taken_port(world: World) -> None:
    """A taken port is replaced, its holder is named as a container where it is one, and the choice is remembered."""
    are_absent_at_first(world, HUB, GHCR)
    world.ports.taken |= {("127.0.0.1", 54100), ("127.0.0.1", 54101)}
    world.ports.holders |= {54100: Holder(7, "docker-proxy"), 54101: Holder(8, "nginx")}
    all_containers(world.runner, container("somebody"))
    all_containers(world.runner)

    started = await engine(world, HUB, GHCR).start(NETWORK)

    assert started.substitutes == (
        Substitute("docker.io", 54100, 40000, "container somebody"),
        Substitute("ghcr.io", 54101, 40001, "nginx (pid 8)"),
    )
    assert recall(world.root / "containers") == {one.registry: one for one in started.substitutes}
    assert "--publish 127.0.0.1:40000:5000" in next(line for line in world.changes() if "docker run" in line)


async def test_remembered(world: World) -> None:
    """A substitute is told of, with its holder, as long as it serves; those of other registries are kept."""
    are_absent_at_first(world, HUB)
    world.ports.taken.add(("127.0.0.1", 54100))
    world.ports.holders[54100] = Holder(8, "nginx")
    (first,) = (await engine(world, HUB).start(NETWORK)).substitutes
    moved = world.seen(HUB)
    moved["HostConfig"]["PortBindings"]["5000/tcp"][0]["HostPort"] = "40000"
    again = World(world.root, ports=world.ports)
    there(again.runner, "container", moved)
    are_there(again, GHCR)

    assert (await engine(again, HUB).start(NETWORK)).substitutes == (first,)
    assert (await engine(again, GHCR).start(NETWORK)).substitutes == ()
    assert recall(world.root / "containers") == {"docker.io": first}


async def test_notes(world: World) -> None:
    """An image that forgets is told of."""
    old = world.seen(HUB)
    old["Config"]["Image"] = "registry:2"
    there(world.runner, "container", old)

    (note,) = (await engine(world, HUB).start(NETWORK)).notes

    assert "7 days" in note


async def test_image_through_the_builtin_engine(world: World) -> None:
    """The image is asked of the builtin engine first."""
    world.runner.script("docker", "image", code=1, stderr="Error: No such image")

    await engine(world, HUB).fetch_image()

    assert world.changes()[0] == "docker pull --quiet 127.0.0.1:40100/library/registry:3"


async def test_status(world: World) -> None:
    """Each is one of running, stopped, failing and absent; what runs and does not answer is failing."""
    are_there(world, HUB, PUSH)
    there(world.runner, "container", world.seen(GHCR, status="exited"))
    absent(world.runner, "container", QUAY.name)
    world.silent[54103] = 1

    assert await engine(world, HUB, GHCR, QUAY, PUSH).status() == (
        ContainerSeen(HUB, "running", 54100),
        ContainerSeen(GHCR, "stopped", 54101),
        ContainerSeen(QUAY, "absent"),
        ContainerSeen(PUSH, "failing", 54103),
    )
    assert world.changes() == []


async def test_stop(world: World) -> None:
    """What is not at rest is stopped, what crashes again and again too."""
    are_there(world, HUB)
    there(world.runner, "container", world.seen(GHCR, status="restarting"))
    absent(world.runner, "container", QUAY.name)

    assert await engine(world, HUB, GHCR, QUAY).stop()
    assert world.changes() == [f"docker stop {HUB.name}", f"docker stop {GHCR.name}"]


async def test_nothing_to_stop(world: World) -> None:
    """What does not run is not stopped, and what keeps another user's content is not either."""
    there(world.runner, "container", world.seen(GHCR, status="exited"))
    there(world.runner, "container", container(HUB.name, storage="/home/eve/docker.io"))

    assert not await engine(world, GHCR, HUB).stop()
    assert world.changes() == []


async def test_discard(world: World) -> None:
    """The containers of the plan go, running or not, and their content stays; another user's are left alone."""
    (world.root / "docker.io").mkdir()
    are_there(world, HUB)
    there(world.runner, "container", world.seen(GHCR, status="exited"))
    there(world.runner, "container", container(QUAY.name, storage="/home/eve/quay.io"))

    assert await engine(world, HUB, GHCR, QUAY).discard() == (HUB.name, GHCR.name)

    assert world.changes() == [f"docker rm --force {name}" for name in (HUB.name, GHCR.name)]
    assert (world.root / "docker.io").exists()


async def test_somebody_elses(world: World) -> None:
    """A container that keeps another user's content is seen as such."""
    there(world.runner, "container", container(HUB.name, port=54100, storage="/home/eve/docker.io"))

    (seen,) = await engine(world, HUB).status()

    assert (seen.state, seen.ours) == ("running", False)


async def test_whoever_had_the_port_has_gone(world: World) -> None:
    """A port that is free again, or somebody else's by now, is told of as it is."""
    remember(make(world.root / "containers"), [Substitute("docker.io", 54100, 40000, "nginx (pid 8)")])
    moved = world.seen(HUB)
    moved["HostConfig"]["PortBindings"]["5000/tcp"][0]["HostPort"] = "40000"
    there(world.runner, "container", moved)

    assert (await engine(world, HUB).start(NETWORK)).substitutes == (
        Substitute("docker.io", 54100, 40000, "", free=True),
    )

    world.ports.taken.add(("127.0.0.1", 54100))
    all_containers(world.runner, container("somebody"))
    assert (await engine(world, HUB).start(NETWORK)).substitutes == (
        Substitute("docker.io", 54100, 40000, "container somebody"),
    )


async def test_remove(world: World) -> None:
    """Containers over our cache root go, with their content if asked; others' caches and registries stay."""
    for name in ("docker.io", "x.io", "builtin"):
        (world.root / name).mkdir()
        (world.root / name / "blob").touch()
    extra = container("k3d-obol-x-io.localhost", storage=str(world.root / "x.io"))
    eves = container(GHCR.name, storage="/home/eve/ghcr.io")
    other = container("k3d-registry.localhost", storage=str(world.root / "y.io"))
    for _ in range(2):
        all_containers(world.runner, world.seen(HUB), extra, eves, other)

    (left,) = await engine(world, HUB).remove(content=False)
    assert left == f"{GHCR.name} is left: it keeps its content in /home/eve/ghcr.io"
    assert world.changes() == [f"docker rm --force {HUB.name}", "docker rm --force k3d-obol-x-io.localhost"]
    assert (world.root / "docker.io" / "blob").exists()

    await engine(world, HUB).remove(content=True)
    assert [path.name for path in world.root.iterdir()] == ["builtin"]
