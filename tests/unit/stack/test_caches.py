from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from obol.backends.ports import Step, Watch
from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import Running
from obol.caches.containers.container import ServingContainer
from obol.caches.containers.engine import ContainerSeen, ContainersEngine, ContainersStarted, LeftOut, State
from obol.caches.containers.plan import ContainersPlan, RegistryContainer
from obol.caches.docker.gateway import GatewayMirrors, Offer, Reached, Unreached
from obol.caches.reachable import Substitute
from obol.config.background import CachePlans
from obol.config.stack import EngineName
from obol.errors import ObolError
from obol.machine.docker.cli import Docker
from obol.machine.docker.errors import DockerFailed
from obol.machine.docker.values import Network
from obol.registry.control.api import Listener
from obol.rendering.registries import Mirror
from obol.stack.caches import PUSHED, DockerCaches, HostCaches, Wired
from obol.workloads.k3s import NODE_IMAGE
from tests.fakes import docker as fake
from tests.fakes.runner import FakeRunner
from tests.unit.stack.world import FakeCaches, engine_status

HUB = RegistryContainer("docker.io", "https://registry-1.docker.io", 54100)
ON_GATEWAY = Mirror("docker.io", "http://172.18.0.1:54100")
IN_CONTAINER = Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000")
PUSH = Mirror("localhost:54103", "http://k3d-obol-local.localhost:5000", takes_pushes=True)
RUNS = Running(replace(engine_status(), listeners=(Listener("docker.io", "127.0.0.1", 54100),)))


class Gateway(GatewayMirrors):
    """A gateway that nodes reach, or not."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def offer(self, network: Network) -> Offer:
        return Offer(network, (ON_GATEWAY,), (54100,), {"docker.io": 54100}, True, self._world.substitutes)

    async def try_from_inside(self, offer: Offer, image: str, watch: Watch | None = None) -> Reached | Unreached:
        assert watch
        watch(f"pulling {image}")
        self._world.calls.append(f"try {image}")
        if self._world.reachable:
            return Reached(offer)
        return Unreached(offer, offer.mirrors, "timed out", "ufw", "ufw allow", self._world.imageless)


class Containers(ContainersEngine):
    """Cache containers that do as told."""

    def __init__(self, world: World, plan: ContainersPlan) -> None:
        self.world, self.plan = world, plan

    async def start(self, network: Network) -> ContainersStarted:
        assert network.name == "obol-net"
        self.world.calls.append(f"start {[cache.registry for cache in self.plan.caches]} {dict(self.plan.loopback)}")
        serving = tuple(ServingContainer(cache, cache.port, "made") for cache in self.plan.caches)
        return ContainersStarted(serving, self.world.left_out)

    async def fetch_image(self) -> None:
        self.world.calls.append(f"fetch by {dict(self.plan.loopback)}")
        if self.world.problem:
            raise self.world.problem

    async def status(self) -> tuple[ContainerSeen, ...]:
        if self.world.problem:
            raise self.world.problem
        return tuple(ContainerSeen(cache, self.world.containers, ours=self.world.ours) for cache in self.plan.caches)

    async def discard(self) -> tuple[str, ...]:
        self.world.calls.append("discard")
        return tuple(cache.name for cache in self.plan.caches if self.world.containers != "absent")

    async def remove(self, *, content: bool) -> tuple[str, ...]:
        self.world.calls.append(f"remove {content}")
        return ("one is left",)


class UnitCaches(DockerCaches):
    """The unit under test, with containers that do as told."""

    world: World

    def containers_engine(
        self, caches: tuple[RegistryContainer, ...] | None = None, loopback: Mapping[str, int] | None = None
    ) -> ContainersEngine:
        return Containers(self.world, super().containers_engine(caches, loopback)._plan)


@dataclass
class World:
    """Docker with its network, and both engines."""

    root: Path
    builtin: FakeCaches = field(default_factory=FakeCaches)
    runner: FakeRunner = field(default_factory=FakeRunner)
    reachable: bool = True
    imageless: bool = False
    substitutes: tuple[Substitute, ...] = ()
    containers: State = "absent"
    ours: bool = True
    left_out: tuple[LeftOut, ...] = ()
    calls: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: ObolError | None = None

    def __post_init__(self) -> None:
        fake.all_networks(self.runner, fake.network("obol-net", labels={"obol.network": "shared"}))
        fake.all_containers(self.runner)

    def caches(self, engine: EngineName = "auto", *, development: bool = False) -> DockerCaches:
        plans = CachePlans(BuiltinPlan(self.root / "builtin"), ContainersPlan(self.root, (HUB,)), engine, development)
        caches = UnitCaches(Docker(self.runner), self.builtin, Gateway(self), plans)
        caches.world = self
        return caches

    async def wire(self, engine: EngineName = "auto", *, development: bool = False) -> Wired:
        """Start caches and have nodes reach them."""
        caches = self.caches(engine, development=development)
        return await caches.wire(await caches.start(), Step(self.lines.append, self.notes))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Docker, and no caches yet."""
    return World(tmp_path)


async def test_builtin_by_the_gateway(world: World) -> None:
    """The builtin engine serves by itself, as soon as a container was seen to reach it; what it waits for is shown."""
    wired = await world.wire()

    assert (wired.mirrors, world.notes, wired.by_builtin) == ((ON_GATEWAY,), [], True)
    assert world.calls == [f"try {NODE_IMAGE}"]
    assert wired.loopback == {"docker.io": 54100}
    assert world.lines == [f"pulling {NODE_IMAGE}"]


async def test_a_port_of_the_gateway_is_taken(world: World) -> None:
    """Another port is told of, with who has the wanted one."""
    world.substitutes = (Substitute("docker.io", 54100, 41000, "nginx (1234)"),)

    await world.wire()

    assert world.notes == ["Port 54100 of 172.18.0.1 is taken by nginx (1234): the cache of docker.io is on 41000."]


async def test_unreachable(world: World) -> None:
    """Behind a firewall containers serve, with one line that says why; the builtin engine makes way for them."""
    world.reachable = False
    world.builtin.running = RUNS

    wired = await world.wire()

    assert (wired.mirrors, wired.by_builtin) == ((IN_CONTAINER,), False)
    (note,) = world.notes
    assert "ufw allow" in note
    assert "--cache-engine builtin" in note
    assert world.calls[1:] == ["fetch by {'docker.io': 54100}", "start ['docker.io'] {}"]
    assert world.builtin.calls[-1] == "stop"
    assert wired.loopback == {"docker.io": 54100}


async def test_unreachable_and_no_container(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The firewall is told with what keeps containers from serving in its place."""

    async def fail(_: object) -> None:
        raise DockerFailed("no image")

    world.reachable = False
    world.builtin.running = RUNS
    monkeypatch.setattr(Containers, "fetch_image", fail)

    with pytest.raises(DockerFailed):
        await world.wire()

    assert "ufw allow" in world.notes[0]


async def test_unreachable_and_insisted_on(world: World) -> None:
    """Who asked for the builtin engine by name gets no other, but knows that images are pulled directly."""
    world.reachable = False

    wired = await world.wire("builtin")

    assert wired.mirrors == ()
    assert world.notes[0].endswith("Images are pulled directly.")
    assert world.calls == ["discard", f"try {NODE_IMAGE}"]


@pytest.mark.parametrize("engine", ["containers", "auto"])
async def test_containers(world: World, engine: EngineName) -> None:
    """Containers serve when asked for, and go on to where they do; what is left out is said."""
    world.containers = "running"
    world.left_out = (LeftOut(HUB, ObolError("it crashes")),)

    wired = await world.wire(engine)

    assert world.builtin.calls.count("start") == 0
    assert (wired.mirrors, wired.by_builtin) == ((IN_CONTAINER,), False)
    assert world.notes == ["Docker.io is pulled directly: it crashes."]
    assert world.calls == ["start ['docker.io'] {}"]


async def test_auto_stays_with_what_runs(world: World) -> None:
    """A builtin engine that runs is the one, also where Docker cannot tell of containers."""
    world.builtin.running = RUNS
    assert await world.caches().start() is not None

    world.problem = DockerFailed("it does not answer")
    assert await world.caches().start() is not None

    world.builtin.running = None
    with pytest.raises(DockerFailed):
        await world.caches().start()


@pytest.mark.parametrize(
    ("state", "ours", "builtin", "by_containers"),
    [
        ("running", True, True, True),
        ("running", True, False, True),
        ("failing", True, False, True),
        ("stopped", True, False, True),
        ("stopped", True, True, False),
        ("running", False, False, True),
        ("running", False, True, False),
        ("stopped", False, False, False),
        ("absent", True, False, False),
    ],
)
async def test_who_serves(world: World, state: State, ours: bool, builtin: bool, by_containers: bool) -> None:
    """Nobody is switched to another engine without asking: containers that are there are the caches, unless stopped."""
    world.containers, world.ours = state, ours
    world.builtin.running = RUNS if builtin else None

    assert (await world.caches().start() is None) == by_containers


async def test_a_builtin_engine_beside_containers(world: World) -> None:
    """Where containers serve, a builtin engine that somebody started beside them is stopped, and that is said."""
    world.containers = "running"
    world.builtin.running = RUNS

    wired = await world.wire()

    assert wired.mirrors == (IN_CONTAINER,)
    assert world.builtin.calls[-1] == "stop"
    (note,) = world.notes
    assert "the builtin engine has been stopped" in note
    assert "`obol stack up --cache-engine builtin`" in note


async def test_switching_to_the_builtin_engine(world: World) -> None:
    """Who asks for the builtin engine by name is told that the containers are gone, and that their content stays."""
    world.containers = "running"

    await world.wire("builtin")

    assert world.calls[0] == "discard"
    assert world.notes == [f"The builtin engine serves now: {HUB.name} removed. What they hold stays in {world.root}."]


async def test_no_image_to_try_it_with(world: World) -> None:
    """Where the image of the nodes cannot be had, no other engine is started: that would need one more image."""
    world.reachable, world.imageless = False, True

    wired = await world.wire()

    assert wired.mirrors == ()
    assert world.calls == [f"try {NODE_IMAGE}"]


async def test_a_port_that_a_container_has(world: World) -> None:
    """A container that has the usual port is named, rather than Docker's proxy before it."""
    world.builtin.substitutes = (Substitute("docker.io", 54100, 54110, "docker-proxy (pid 7)"),)
    world.runner.script("docker", "ps", "--no-trunc", stdout='{"ID":"id-of-web"}')
    world.runner.script("docker", "container", "inspect", stdout=json.dumps([fake.container("web")]))

    await world.wire()

    assert world.notes == ["Port 54100 is taken by container web: the cache of docker.io is on 54110."]


@pytest.mark.parametrize(("engine", "mirrors"), [("builtin", ON_GATEWAY), ("containers", IN_CONTAINER)])
async def test_development(world: World, engine: EngineName, mirrors: Mirror) -> None:
    """In development mode there is a registry to push to, last in order, under either engine."""
    wired = await world.wire(engine, development=True)

    assert wired.mirrors == (mirrors, PUSH)


async def test_remove(world: World) -> None:
    """Both engines, their content, the network and what was remembered of it go; what is left is said."""
    memory = ContainersPlan(world.root, ()).gateway_memory
    memory.mkdir()

    assert await world.caches().remove() == ("one is left",)

    assert world.calls == ["remove True"]
    assert not memory.exists()
    assert "docker network rm id-of-obol-net" in world.runner.lines


async def test_containers_are_named(world: World) -> None:
    """Containers that are there are shown with their state; trouble with Docker shows elsewhere."""
    assert await world.caches().containers() == ()
    world.containers = "failing"
    (seen,) = await world.caches().containers()
    assert (seen.cache.name, seen.state) == ("k3d-obol-docker-io.localhost", "failing")
    both = await world.caches(development=True).containers()
    assert [one.cache.name for one in both] == ["k3d-obol-docker-io.localhost", "k3d-obol-local.localhost"]
    world.problem = DockerFailed("no")
    assert await world.caches().containers() == ()


async def reached(tmp_path: Path, engine: FakeCaches, notes: list[str] | None = None, **how: Any) -> Wired:
    """Have an engine serve nodes on this machine's own network."""
    caches = HostCaches(engine, tmp_path / "store", **how)
    return await caches.wire(await caches.start(), Step(print, [] if notes is None else notes))


async def test_host_caches_are_reached_on_loopback(tmp_path: Path) -> None:
    """What pulls in this machine's network asks the listeners of the engine; a registry to push to comes last."""
    wired = await reached(tmp_path, FakeCaches(), push=(PUSHED,))

    *cached, pushed = wired.mirrors
    listeners = dict.fromkeys(one.registry for one in engine_status().listeners)
    assert [mirror.registry for mirror in cached] == list(listeners)
    assert all(mirror.endpoint.startswith("http://127.0.0.1:") for mirror in cached)
    assert pushed == PUSHED
    assert (await HostCaches(FakeCaches(), tmp_path).wire(None, Step(print))).mirrors == ()


async def test_ports_that_are_taken(tmp_path: Path) -> None:
    """A cache on another port than the usual one is told of, with who has that; where any port would do, it is not."""
    taken = Substitute("docker.io", 54100, 54110, "nginx (pid 7)")
    unnamed = Substitute("ghcr.io", 54101, 54111, "")
    free = Substitute("quay.io", 54102, 54112, "", free=True)
    notes: list[str] = []

    await reached(tmp_path, FakeCaches(substitutes=(taken, unnamed, free, Substitute("x.io", 0, 5, ""))), notes)

    again = "`obol cache stop` and `obol stack up` bring it back"
    assert notes == [
        "Port 54100 is taken by nginx (pid 7): the cache of docker.io is on 54110.",
        "Port 54101 is taken: the cache of ghcr.io is on 54111.",
        f"The cache of quay.io is on port 54112; 54102 was taken, and is free again: {again}.",
    ]


async def test_removing_stops_the_engine(tmp_path: Path) -> None:
    """The engine is stopped before its store goes."""
    engine = FakeCaches()

    assert await HostCaches(engine, tmp_path / "store").remove() == ()
    assert engine.calls == ["stop"]


async def test_nodes_that_are_told_once_ask_at_an_address_of_their_own(tmp_path: Path) -> None:
    """What they were given is known by that address; where it cannot be had, they ask where others do."""
    engine = FakeCaches(taken=frozenset({54100}))

    wired = await reached(tmp_path, engine, apart="127.54.0.1")

    assert wired.own_addresses == {"127.54.0.1"}
    assert [mirror.endpoint for mirror in wired.mirrors] == ["http://127.0.0.1:54100"]
    engine.taken = frozenset()
    wired = await reached(tmp_path, engine, apart="127.54.0.1")
    assert [mirror.endpoint for mirror in wired.mirrors] == ["http://127.54.0.1:54100"]
    assert "listen 127.54.0.1:54100" in engine.calls
