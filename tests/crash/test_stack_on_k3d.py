"""The whole stack on a machine that has Docker and k3d: lifecycle, wiring and backend, as commands use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obol.backends.k3d.backend import K3dBackend, K3dEnvironment
from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import Started
from obol.caches.containers.engine import ContainersEngine
from obol.caches.containers.plan import ContainersPlan, RegistryContainer
from obol.caches.docker.gateway import GatewayMirrors
from obol.config.background import CachePlans
from obol.machine.docker.cli import Docker
from obol.registry.control.api import Inventory, Listener
from obol.rendering.k3d import mirrors_in, node_archive
from obol.stack.caches import DockerCaches
from obol.stack.home import Home, Identity
from obol.stack.lifecycle import Lifecycle
from obol.stack.outcomes import UpOutcome, UpRequest
from obol.stack.reclaim import LeakedNetworks
from obol.workloads.sources import packaged
from tests.fakes import docker as fake
from tests.fakes.caches import FakeCaches
from tests.fakes.clock import FakeClock
from tests.fakes.k3d import FakeMachine
from tests.fakes.k3dstack import IMAGES, Stack
from tests.fakes.ports import FakePorts
from tests.unit.stack.world import LITELLM, FakeReporter, FakeWarmth

WHO = Identity("calm-otter", "k3d")
NAME = "obol-stack-calm-otter"
ON_GATEWAY = {"docker.io": ("http://172.18.0.1:54100",), "ghcr.io": ("http://172.18.0.1:54101",)}
CONTAINERS = (
    RegistryContainer("docker.io", "https://registry-1.docker.io", 54100),
    RegistryContainer("ghcr.io", "https://ghcr.io", 54101),
)


class Builtin(FakeCaches):
    """The builtin engine, which starts."""

    def start(self) -> Started:
        self.runs = True
        running = self.status()
        assert running is not None
        return Started(running.status, already=False)

    def images(self) -> Inventory:
        return Inventory(())

    def stop(self) -> bool:
        self.runs = False
        return True


class AnsweringCaches(DockerCaches):
    """Caches whose containers answer at once."""

    def containers_engine(
        self, caches: tuple[RegistryContainer, ...] | None = None, loopback: Mapping[str, int] | None = None
    ) -> ContainersEngine:
        plan = super().containers_engine(caches, loopback)._plan
        return ContainersEngine(self._docker, plan, clock=FakeClock(), probe=FakePorts(), ask=_answer)


@dataclass
class World:
    """The machine, and what each command builds anew over it."""

    root: Path
    builtin: Builtin = field(default_factory=lambda: Builtin(runs=False))
    machine: FakeMachine = field(default_factory=lambda: FakeMachine(images=set(IMAGES)))
    development: bool = False

    def __post_init__(self) -> None:
        self.home = Home(self.root / "config")
        self.home.establish(WHO)
        fake.all_networks(self.machine, fake.network("obol-net", labels={"obol.network": "shared"}))
        self.machine.script("docker", "info", stdout='{"ServerVersion":"27.0","OperatingSystem":"Debian"}')
        self.machine.script("docker", "ps")
        for cache in CONTAINERS:
            fake.absent(self.machine, "container", cache.name)

    def stack(self) -> Lifecycle:
        """The stack, as a command has it."""
        docker, plan = Docker(self.machine), ContainersPlan(self.root, CONTAINERS)
        gateway = GatewayMirrors(
            docker, self.builtin, plan, is_here=lambda _: True, probe=FakePorts(), firewall=lambda: ""
        )
        plans = CachePlans(BuiltinPlan(self.root / "builtin"), plan, "auto", self.development)
        caches = AnsweringCaches(docker, self.builtin, gateway, plans)
        seen = Stack(self.machine, self.home.config)
        around = K3dEnvironment(
            {"PATH": "/bin"}, seen.network, seen.clock, seen.ports, seen.ports.listens, seen.probe, seen.api
        )
        backend = K3dBackend(self.machine, self.home.config, around)
        return Lifecycle(backend, caches, self.builtin, FakeWarmth(), LeakedNetworks(docker), self.home)

    async def up(self, *, use_caches: bool = True) -> UpOutcome:
        wanted = UpRequest(WHO, self.root / "data", packaged(), (LITELLM,), use_caches=use_caches)
        return await self.stack().up(wanted, FakeReporter(), FakeClock())

    def told(self) -> dict[str, tuple[str, ...]]:
        return mirrors_in(node_archive(self.machine.clusters[NAME].registries))

    def creations(self) -> list[str]:
        return [line for line in self.machine.lines if line.startswith("k3d cluster create")]


async def _answer(port: int, path: str) -> int | None:
    """All registries answer."""
    return 200


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A machine without a cluster."""
    return World(tmp_path)


async def test_a_day(world: World) -> None:
    """Up, up, down, up, purge: one cluster is made, on our network, told of the gateway; nothing of it stays."""
    first = await world.up()
    second = await world.up()

    (creation,) = world.creations()
    assert "--network obol-net" in creation
    assert f"--registry-config {world.home.config}/registries.yaml" in creation
    assert world.told() == ON_GATEWAY
    assert (first.created, second.created) == (True, False)
    assert [own.address for own in world.builtin.listeners].count("172.18.0.1") == 2

    await world.stack().down(WHO, FakeReporter())
    assert not world.machine.clusters[NAME].servers
    await world.up()
    assert world.machine.clusters[NAME].servers

    await world.stack().purge(WHO, FakeReporter(), images=False, caches=False)
    assert world.machine.clusters == {}
    assert not (world.home.config / "registries.yaml").exists()
    assert world.home.identity() is None
    assert world.builtin.runs


async def test_without_caches(world: World) -> None:
    """Without caches nothing of them is started, written or told; a cluster that was wired is told otherwise."""
    await world.up(use_caches=False)
    assert "--registry-config" not in world.creations()[0]
    assert not (world.home.config / "registries.yaml").exists()
    assert not world.builtin.runs

    wired = await world.up()
    assert world.told() == ON_GATEWAY
    assert any("had been made without registry caches" in note for note in wired.notes)

    unwired = await world.up(use_caches=False)
    assert world.told() == {}
    assert any("pulls images directly now" in note for note in unwired.notes)


async def test_the_caches_have_moved(world: World) -> None:
    """A cluster whose caches are on another port now is restarted, and finds them."""
    await world.up()
    world.builtin.listeners = [Listener("docker.io", "127.0.0.1", 41000), Listener("ghcr.io", "127.0.0.1", 54101)]

    moved = await world.up()

    now = {**ON_GATEWAY, "docker.io": ("http://172.18.0.1:41000",)}
    assert world.told() == now
    assert any("elsewhere now" in note for note in moved.notes)


async def test_a_firewall_and_no_containers_either(world: World) -> None:
    """Where neither engine can be reached, images are pulled directly, and that is said."""
    world.machine.script("docker", "run", code=1, stderr="wget: download timed out")

    raised = await world.up()

    assert raised.mirrors == ()
    assert world.machine.clusters[NAME].servers
    assert any("directly" in note for note in raised.notes)


async def test_development_mode(world: World) -> None:
    """The node and the tools know the registry to push into by one name, also on a port that had to be chosen."""
    push = fake.container(
        "k3d-obol-local.localhost", port=40003, networks={"obol-net": "id-of-obol-net"}, storage=f"{world.root}/x"
    )
    fake.there(world.machine, "container", push)
    world.development = True

    await world.up()

    assert world.told() == {**ON_GATEWAY, "localhost:40003": ("http://k3d-obol-local.localhost:5000",)}
    hosting = world.machine.applied["ConfigMap", "local-registry-hosting"]
    assert 'host: "localhost:40003"' in hosting["data"]["localRegistryHosting.v1"]


async def test_no_development_mode(world: World) -> None:
    """Without development mode nobody is told of such a registry, and nothing looks for it."""
    await world.up()

    assert ("ConfigMap", "local-registry-hosting") not in world.machine.applied
    assert not [line for line in world.machine.lines if "k3d-obol-local" in line]
