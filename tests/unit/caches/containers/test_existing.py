import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from obol.caches.containers.engine import CacheContainers, ContainersEngine
from obol.caches.containers.plan import ContainersPlan
from obol.caches.reachable import Substitute, remember
from obol.machine.docker.cli import Docker
from obol.registry.control.api import Amount
from tests.fakes import docker as fake
from tests.unit.caches.containerworld import GHCR, HUB, PUSH, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing is there yet."""
    return World(tmp_path)


def containers(world: World) -> CacheContainers:
    """The unit under test."""

    def build(docker: Docker, plan: ContainersPlan) -> ContainersEngine:
        return ContainersEngine(docker, plan, clock=world.clock, probe=world.ports, ask=world.ask)

    return CacheContainers(world.docker, world.root, build)


def are_there(world: World, *found: fake.Json) -> None:
    """Docker has these."""
    fake.all_containers(world.runner, *found)
    for one in found:
        fake.there(world.runner, "container", one)


@pytest.mark.parametrize(
    ("directory", "traces"), [("", False), ("builtin", False), ("gateway", False), ("docker.io", True)]
)
def test_traces(world: World, directory: str, traces: bool) -> None:
    """Where no container ever kept anything, Docker need not be asked; a root that is not there has none."""
    (world.root / directory).mkdir(exist_ok=True)

    assert containers(world).traces() == traces
    assert not CacheContainers(world.docker, world.root / "no").traces()


async def test_look(world: World) -> None:
    """Those over our root are seen with what they hold, by where they keep it; those of others are not."""
    blob = world.root / "docker.io/docker/registry/v2/blobs/sha256/ab" / ("ab" * 32) / "data"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"0123456789")
    (world.root / "docker.io/link").write_bytes(b"12")
    ours = world.root / "ghcr.io/blobs/sha256/cd" / ("cd" * 32)
    ours.parent.mkdir(parents=True)
    ours.write_bytes(b"123")
    eve = fake.container("k3d-obol-quay-io.localhost", storage="/home/eve/quay.io")
    other = fake.container("my-registry", storage=str(world.root / "my"))
    are_there(world, world.seen(HUB), world.seen(GHCR, status="exited"), world.seen(PUSH), eve, other)

    hub, ghcr, push = await containers(world).look()

    assert (hub.cache, hub.state, hub.port, hub.content) == (HUB, "running", 54100, Amount(1, 12))
    assert (ghcr.cache, ghcr.state, ghcr.content) == (GHCR, "stopped", Amount(1, 3))
    assert (push.cache, push.content) == (PUSH, Amount(0, 0))


async def test_moved(world: World) -> None:
    """The usual port of one that had to take another is remembered."""
    (world.root / "containers").mkdir()
    remember(world.root / "containers", [Substitute("docker.io", 54100, 40000, "nginx")])
    are_there(world, world.seen(replace(HUB, port=40000)))

    (seen,) = await containers(world).look()

    assert (seen.cache.port, seen.port) == (54100, 40000)


async def test_of_the_original_system(world: World) -> None:
    """A container without a label of ours is known by the directory over which it is."""
    found = world.seen(HUB)
    del found["Config"]["Labels"]["obol.cache"]
    are_there(world, found)

    (seen,) = await containers(world).look()

    assert seen.cache == HUB


async def test_not_ours_to_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What we may not read is not counted, rather than counted as nothing."""

    def walk(_top: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
        onerror(PermissionError(13, "Permission denied"))
        yield from ()

    monkeypatch.setattr(os, "walk", walk)
    are_there(world, world.seen(HUB))

    (seen,) = await containers(world).look()

    assert seen.content is None


async def test_too_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has very many files does not wait for a number."""
    monkeypatch.setattr("obol.caches.containers.engine._MOST", 1)
    (world.root / "docker.io").mkdir()
    for name in "ab":
        (world.root / "docker.io" / name).touch()
    are_there(world, world.seen(HUB))

    (seen,) = await containers(world).look()

    assert seen.content is None


async def test_stop(world: World) -> None:
    """The caches are stopped; a registry to push to is none."""
    are_there(world, world.seen(HUB), world.seen(GHCR, status="exited"), world.seen(PUSH))

    assert await containers(world).stop() == (HUB.name,)

    assert world.changes() == [f"docker stop {HUB.name}"]


async def test_discard(world: World) -> None:
    """The caches go, and a registry to push to stays."""
    are_there(world, world.seen(HUB), world.seen(PUSH))

    assert await containers(world).discard() == (HUB.name,)

    assert world.changes() == [f"docker rm --force {HUB.name}"]


async def test_logs(world: World) -> None:
    """The last lines of each come after the name of its registry."""
    are_there(world, world.seen(HUB), world.seen(GHCR))
    world.runner.script("docker", "logs", "--tail", "5", HUB.name, stdout="one\n", stderr="two\n")
    world.runner.script("docker", "logs", "--tail", "5", GHCR.name, stdout="three\n")

    assert await containers(world).logs(5) == ("docker.io: one", "docker.io: two", "ghcr.io: three")
