from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from obol.caches.containers.container import Serving
from obol.caches.containers.engine import ContainerSeen, ContainersStarted, LeftOut
from obol.caches.containers.plan import CacheContainer, ContainersPlan
from obol.caches.docker.gateway import Offer, Reached, Unreached
from obol.caches.ports import Listener, Running, Substitute
from obol.errors import ObolError
from obol.machine.docker import Docker
from obol.machine.dockererrors import DockerFailed
from obol.rendering.registries import Mirror
from obol.stack.dockercaches import DockerCaches
from tests.fakes import docker as fake
from tests.fakes.runner import FakeRunner
from tests.unit.stack.world import FakeCaches, engine_status

if TYPE_CHECKING:
    from pathlib import Path

    from obol.backends.ports import Watch
    from obol.caches.containers.engine import State
    from obol.caches.ports import EngineName
    from obol.machine.dockervalues import Network

HUB = CacheContainer("docker.io", "https://registry-1.docker.io", 54100)
ON_GATEWAY = Mirror("docker.io", "http://172.18.0.1:54100")
IN_CONTAINER = Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000")
PUSH = Mirror("localhost:54103", "http://k3d-obol-local.localhost:5000", takes_pushes=True)
RUNS = Running(replace(engine_status(), listeners=(Listener("docker.io", "127.0.0.1", 54100),)))


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
    loopback: dict[str, int] = field(default_factory=dict)
    problem: ObolError | None = None

    def __post_init__(self) -> None:
        """Have the network."""
        fake.all_networks(self.runner, fake.network("obol-net", labels={"obol.network": "shared"}))
        fake.all_containers(self.runner)

    def caches(self, engine: EngineName = "auto", *, development: bool = False) -> DockerCaches:
        """The unit under test."""
        return DockerCaches(
            Docker(self.runner),
            self.builtin,
            self,
            ContainersPlan(self.root, (HUB,)),
            self.root / "builtin",
            engine,
            "rancher/k3s:v1",
            development,
            self.loopback,
            lambda _, plan: Containers(self, plan),
        )

    async def offer(self, network: Network) -> Offer:
        """Offer the gateway."""
        return Offer(network, (ON_GATEWAY,), (54100,), {"docker.io": 54100}, True, self.substitutes)

    async def try_from_inside(self, offer: Offer, image: str, watch: Watch | None = None) -> Reached | Unreached:
        """Try it."""
        if watch:
            watch(f"pulling {image}")
        self.calls.append(f"try {image}")
        if self.reachable:
            return Reached(offer)
        return Unreached(offer, offer.mirrors, "timed out", "ufw", "ufw allow", self.imageless)


@dataclass
class Containers:
    """Cache containers that do as told."""

    world: World
    plan: ContainersPlan

    async def start(self, network: Network) -> ContainersStarted:
        """Start."""
        assert network.name == "obol-net"
        self.world.calls.append(f"start {[cache.registry for cache in self.plan.caches]} {dict(self.plan.loopback)}")
        serving = tuple(Serving(cache, cache.port, "made") for cache in self.plan.caches)
        return ContainersStarted(serving, self.world.left_out)

    async def fetch_image(self) -> None:
        """Fetch."""
        self.world.calls.append(f"fetch by {dict(self.plan.loopback)}")
        if self.world.problem:
            raise self.world.problem

    async def status(self) -> tuple[ContainerSeen, ...]:
        """Look."""
        if self.world.problem:
            raise self.world.problem
        return tuple(ContainerSeen(cache, self.world.containers, ours=self.world.ours) for cache in self.plan.caches)

    async def discard(self) -> tuple[str, ...]:
        """Remove."""
        self.world.calls.append("discard")
        return tuple(cache.name for cache in self.plan.caches if self.world.containers != "absent")

    async def remove(self, *, content: bool) -> tuple[str, ...]:
        """Remove."""
        self.world.calls.append(f"remove {content}")
        return ("one is left",)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Docker, and no caches yet."""
    return World(tmp_path)


async def test_builtin_by_the_gateway(world: World) -> None:
    """The builtin engine serves by itself, as soon as a container was seen to reach it."""
    caches = world.caches()

    wired = await caches.wire(await caches.start())

    assert (wired.mirrors, wired.notes, wired.by_builtin) == ((ON_GATEWAY,), (), True)
    assert world.calls == ["try rancher/k3s:v1"]
    assert world.loopback == {"docker.io": 54100}


async def test_what_is_waited_for(world: World) -> None:
    """A pull that the try has to wait for is shown."""
    caches = world.caches()
    lines: list[str] = []

    await caches.wire(await caches.start(), lines.append)

    assert lines == ["pulling rancher/k3s:v1"]


async def test_a_port_of_the_gateway_is_taken(world: World) -> None:
    """Another port is told of, with who has the wanted one."""
    world.substitutes = (Substitute("docker.io", 54100, 41000, "nginx (1234)"),)
    caches = world.caches()

    wired = await caches.wire(await caches.start())

    assert wired.notes == ("Port 54100 of 172.18.0.1 is taken by nginx (1234): the cache of docker.io is on 41000.",)


async def test_unreachable(world: World) -> None:
    """Behind a firewall containers serve, with one line that says why; the builtin engine makes way for them."""
    world.reachable = False
    world.builtin.running = RUNS
    caches = world.caches()

    wired = await caches.wire(await caches.start())

    assert (wired.mirrors, wired.by_builtin) == ((IN_CONTAINER,), False)
    (note,) = wired.notes
    assert "ufw allow" in note
    assert "--cache-engine builtin" in note
    assert world.calls[1:] == ["fetch by {'docker.io': 54100}", "start ['docker.io'] {}"]
    assert world.builtin.calls[-1] == "stop"
    assert world.loopback == {"docker.io": 54100}


async def test_unreachable_and_no_container(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The firewall is told with what keeps containers from serving in its place."""

    async def fail(_: object) -> None:
        raise DockerFailed("no image")

    world.reachable = False
    world.builtin.running = RUNS
    monkeypatch.setattr(Containers, "fetch_image", fail)
    caches = world.caches()

    with pytest.raises(DockerFailed) as caught:
        await caches.wire(await caches.start())

    assert "ufw allow" in caught.value.notes[0]


async def test_unreachable_and_insisted_on(world: World) -> None:
    """Who asked for the builtin engine by name gets no other, but knows that images are pulled directly."""
    world.reachable = False
    caches = world.caches("builtin")

    wired = await caches.wire(await caches.start())

    assert wired.mirrors == ()
    assert wired.notes[0].endswith("Images are pulled directly.")
    assert world.calls == ["discard", "try rancher/k3s:v1"]


@pytest.mark.parametrize("engine", ["containers", "auto"])
async def test_containers(world: World, engine: EngineName) -> None:
    """Containers serve when asked for, and go on to where they do; what is left out is said."""
    world.containers = "running"
    world.left_out = (LeftOut(HUB, ObolError("it crashes")),)
    caches = world.caches(engine)

    started = await caches.start()
    wired = await caches.wire(started)

    assert started is None
    assert (wired.mirrors, wired.by_builtin) == ((IN_CONTAINER,), False)
    assert wired.notes == ("Docker.io is pulled directly: it crashes.",)
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
    caches = world.caches()

    wired = await caches.wire(await caches.start())

    assert wired.mirrors == (IN_CONTAINER,)
    assert world.builtin.calls[-1] == "stop"
    (note,) = wired.notes
    assert "the builtin engine has been stopped" in note
    assert "`obol stack up --cache-engine builtin`" in note


async def test_switching_to_the_builtin_engine(world: World) -> None:
    """Who asks for the builtin engine by name is told that the containers are gone, and that their content stays."""
    world.containers = "running"
    caches = world.caches("builtin")

    wired = await caches.wire(await caches.start())

    assert world.calls[0] == "discard"
    assert wired.notes == (f"The builtin engine serves now: {HUB.name} removed. What they hold stays in {world.root}.",)


async def test_no_image_to_try_it_with(world: World) -> None:
    """Where the image of the nodes cannot be had, no other engine is started: that would need one more image."""
    world.reachable, world.imageless = False, True
    caches = world.caches()

    wired = await caches.wire(await caches.start())

    assert wired.mirrors == ()
    assert world.calls == ["try rancher/k3s:v1"]


async def test_a_port_that_a_container_has(world: World) -> None:
    """A container that has the usual port is named, rather than Docker's proxy before it."""
    world.builtin.substitutes = (Substitute("docker.io", 54100, 54110, "docker-proxy (pid 7)"),)
    world.runner.script("docker", "ps", "--no-trunc", stdout='{"ID":"id-of-web"}')
    world.runner.script("docker", "container", "inspect", stdout=json.dumps([fake.container("web")]))
    caches = world.caches()

    wired = await caches.wire(await caches.start())

    assert wired.notes == ("Port 54100 is taken by container web: the cache of docker.io is on 54110.",)


async def test_a_port_that_is_taken(world: World) -> None:
    """A cache of the builtin engine that is on another port is told of, once, with who has the usual one."""
    world.builtin.substitutes = (Substitute("docker.io", 54100, 54110, "nginx (pid 7)"),)
    caches = world.caches()

    wired = await caches.wire(await caches.start())

    assert wired.notes == ("Port 54100 is taken by nginx (pid 7): the cache of docker.io is on 54110.",)


@pytest.mark.parametrize(("engine", "mirrors"), [("builtin", ON_GATEWAY), ("containers", IN_CONTAINER)])
async def test_development(world: World, engine: EngineName, mirrors: Mirror) -> None:
    """In development mode there is a registry to push to, last in order, under either engine."""
    caches = world.caches(engine, development=True)

    wired = await caches.wire(await caches.start())

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
