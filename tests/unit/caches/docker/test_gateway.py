from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from obol.caches.containers.plan import ContainersPlan
from obol.caches.docker.gateway import (
    Firewall,
    GatewayMirrors,
    Offer,
    Reached,
    Unreached,
    active_firewall,
    loopback_ports,
    opening,
)
from obol.caches.reachable import Substitute
from obol.errors import EngineNotRunning
from obol.machine.docker.cli import Docker
from obol.machine.docker.values import Network
from obol.machine.ports import Holder
from obol.registry.control.api import Listener
from obol.rendering.registries import Mirror
from tests.fakes.caches import FakeCaches
from tests.fakes.ports import FakePorts
from tests.fakes.runner import FakeRunner

GATEWAY = "172.18.0.1"
NETWORK = Network("n1", "obol-net", gateway=GATEWAY, bridge="br-n1")
K3S = "docker.io/rancher/k3s:v1.35.5-k3s1"
INFO = '{"ServerVersion":"27.0","OperatingSystem":"%s","SecurityOptions":["%s"]}'
PROBE = (
    f"docker run --rm --network obol-net --env http_proxy= --entrypoint wget {K3S} -q -T 3 -O /dev/null "
    "http://172.18.0.1:%d/v2/"
)


@dataclass
class World:
    """All that the gateway takes."""

    plan: ContainersPlan
    caches: FakeCaches = field(default_factory=FakeCaches)
    runner: FakeRunner = field(default_factory=FakeRunner)
    ports: FakePorts = field(default_factory=FakePorts)
    ours: set[str] = field(default_factory=lambda: {GATEWAY})

    def gateway(self) -> GatewayMirrors:
        docker = Docker(self.runner)
        return GatewayMirrors(
            docker,
            self.caches,
            self.plan,
            is_here=self.ours.__contains__,
            probe=self.ports,
            firewall=lambda: "ufw",
        )

    def info(self, system: str = "Debian", option: str = "name=seccomp") -> None:
        self.runner.script("docker", "info", stdout=INFO % (system, option))

    def on_gateway(self) -> list[Listener]:
        return [listener for listener in self.caches.listeners if listener.address == GATEWAY]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An engine on loopback, and Docker on this machine."""
    world = World(ContainersPlan(tmp_path, ()))
    world.info()
    return world


async def test_on_the_gateway(world: World) -> None:
    """The engine listens on the gateway with the ports that it has on loopback, and is told only once."""
    first = await world.gateway().offer(NETWORK)
    second = await world.gateway().offer(NETWORK)

    assert first == second
    assert first == Offer(
        NETWORK,
        (Mirror("docker.io", "http://172.18.0.1:54100"), Mirror("ghcr.io", "http://172.18.0.1:54101")),
        (54100, 54101),
        {"docker.io": 54100, "ghcr.io": 54101},
        on_gateway=True,
    )
    assert world.on_gateway() == [Listener("docker.io", GATEWAY, 54100), Listener("ghcr.io", GATEWAY, 54101)]
    assert not world.plan.gateway_memory.exists()


@pytest.mark.parametrize(
    ("system", "option", "network", "ours"),
    [
        ("Docker Desktop", "", NETWORK, {GATEWAY}),
        ("Debian", "name=rootless", NETWORK, {GATEWAY}),
        ("Alpine", "", NETWORK, set()),
        ("Debian", "", replace(NETWORK, gateway=""), {GATEWAY, ""}),
    ],
)
async def test_virtual_machine(tmp_path: Path, system: str, option: str, network: Network, ours: set[str]) -> None:
    """Where the gateway is not this machine's, nodes use Docker's name for it, and loopback's ports."""
    world = World(ContainersPlan(tmp_path, ()), ours=ours)
    world.info(system, option)

    offer = await world.gateway().offer(network)

    assert [mirror.endpoint for mirror in offer.mirrors] == [
        "http://host.docker.internal:54100",
        "http://host.docker.internal:54101",
    ]
    assert not offer.on_gateway
    assert world.on_gateway() == []


async def test_everywhere(world: World) -> None:
    """An engine that listens on all addresses already is told nothing."""
    world.caches.listeners = [Listener("docker.io", "0.0.0.0", 54100)]

    offer = await world.gateway().offer(NETWORK)

    assert offer.mirrors == (Mirror("docker.io", "http://172.18.0.1:54100"),)
    assert world.on_gateway() == []


async def test_taken_port(world: World) -> None:
    """A port that is taken on the gateway is replaced, and the choice is remembered for the next engine."""
    world.ports.taken.add((GATEWAY, 54100))
    world.ports.holders[54100] = Holder(7, "nginx")

    first = await world.gateway().offer(NETWORK)
    world.caches = FakeCaches()
    world.ports.next_free = []
    second = await world.gateway().offer(NETWORK)

    assert first.substitutes == (Substitute("docker.io", 54100, 40000, "nginx (pid 7)"),)
    assert first.mirrors[0].endpoint == "http://172.18.0.1:40000"
    assert second == first
    assert first.loopback["docker.io"] == 54100


async def test_taken_since(world: World) -> None:
    """A port that is taken in the very moment is replaced too."""
    world.caches.taken = {54101}

    offer = await world.gateway().offer(NETWORK)

    assert offer.ports == (54100, 41000)
    assert offer.substitutes == (Substitute("ghcr.io", 54101, 41000, ""),)


async def test_not_running(world: World) -> None:
    """Without an engine there is nothing to reach."""
    world.caches.runs = False

    with pytest.raises(EngineNotRunning):
        await world.gateway().offer(NETWORK)


async def test_reached(world: World) -> None:
    """Each mirror is asked for from a container of the node's image."""
    gateway = world.gateway()
    offer = await gateway.offer(NETWORK)

    assert await gateway.try_from_inside(offer, K3S) == Reached(offer)
    assert [line for line in world.runner.lines if "wget" in line] == [PROBE % 54100, PROBE % 54101]


async def test_image_is_fetched_through_the_engine(world: World) -> None:
    """An image that is missing comes through the engine's loopback port."""
    world.runner.script("docker", "image", code=1, stderr="Error: No such image")
    gateway = world.gateway()

    lines: list[str] = []
    await gateway.try_from_inside(await gateway.offer(NETWORK), K3S, lines.append)

    assert "docker pull --quiet 127.0.0.1:54100/rancher/k3s:v1.35.5-k3s1" in world.runner.lines
    assert lines == [f"pulling what k3d itself needs: {K3S}"]


async def test_firewall(world: World) -> None:
    """What does not answer is named, with the firewall that may be in the way and the command that opens it."""
    world.runner.script(*(PROBE % 54101).split(), code=1, stderr="wget: download timed out\n")
    gateway = world.gateway()
    offer = await gateway.offer(NETWORK)

    found = await gateway.try_from_inside(offer, K3S)

    assert found == Unreached(
        offer,
        (Mirror("ghcr.io", "http://172.18.0.1:54101"),),
        "download timed out",
        "ufw",
        "sudo ufw allow in on br-n1 to any port 54100:54101 proto tcp",
    )
    assert str(found) == (
        "the builtin cache engine cannot be reached from Docker's network obol-net (http://172.18.0.1:54101: download "
        "timed out); ufw may be in the way, and this opens it: sudo ufw allow in on br-n1 to any port 54100:54101 "
        "proto tcp"
    )


async def test_no_firewall_of_ours(world: World) -> None:
    """In a virtual machine no firewall of this machine is to blame."""
    world.ours.clear()
    world.runner.script("docker", "run", code=1, stderr="wget: bad address 'host.docker.internal:54100'\n")
    gateway = world.gateway()

    found = await gateway.try_from_inside(await gateway.offer(NETWORK), K3S)

    assert isinstance(found, Unreached)
    assert (found.firewall, found.remedy) == ("", "")
    assert str(found).endswith("bad address 'host.docker.internal:54100')")


@pytest.mark.parametrize(
    ("code", "stderr", "why"),
    [
        (125, "docker: no such network", "it cannot be tried: docker: no such network"),
        (127, "wget: not found", "it cannot be tried: not found"),
        (139, "", "it cannot be tried: wget failed with 139"),
        (1, "Cannot connect to the Docker daemon", "it cannot be tried: Docker is not running: Cannot connect"),
    ],
)
async def test_cannot_be_tried(world: World, code: int, stderr: str, why: str) -> None:
    """An attempt that itself fails blames no firewall."""
    gateway = world.gateway()
    offer = await gateway.offer(NETWORK)
    world.runner.script("docker", "run", code=code, stderr=stderr)

    found = await gateway.try_from_inside(offer, K3S)

    assert isinstance(found, Unreached)
    assert found.why.startswith(why)
    assert found.remedy == ""


async def test_no_image(world: World) -> None:
    """Without an image nothing can be tried."""
    gateway = world.gateway()
    offer = await gateway.offer(NETWORK)
    world.runner.script("docker", "image", code=1, stderr="Error: No such image")
    world.runner.script("docker", "pull", code=1, stderr="no route to host")

    found = await gateway.try_from_inside(offer, K3S)

    assert isinstance(found, Unreached)
    assert (found.missed, found.remedy, found.imageless) == (offer.mirrors, "", True)
    assert str(found).startswith("obol could not try the way to the registry caches: `docker pull` failed: no route")


def test_loopback_ports(world: World) -> None:
    """What this machine itself can use is known by registry; other addresses do not count."""
    world.caches.listeners.append(Listener("quay.io", GATEWAY, 1))
    running = world.caches.status()

    assert running is not None
    assert loopback_ports(running.status) == {"docker.io": 54100, "ghcr.io": 54101}


def test_ufw(tmp_path: Path) -> None:
    """Whether ufw is on stands in its settings."""
    (tmp_path / "etc" / "ufw").mkdir(parents=True)
    settings = tmp_path / "etc" / "ufw" / "ufw.conf"

    settings.write_text("# ENABLED=yes\nENABLED=no\n")
    assert active_firewall(tmp_path) == ""
    settings.write_text("# a comment\nENABLED=yes\nLOGLEVEL=low\n")
    assert active_firewall(tmp_path) == "ufw"


def test_firewalld(tmp_path: Path) -> None:
    """For firewalld it is enough that its process runs."""
    for number, name in ((1, "systemd"), (77, "firewalld")):
        (tmp_path / "proc" / str(number)).mkdir(parents=True)
        (tmp_path / "proc" / str(number) / "comm").write_text(f"{name}\n")
    (tmp_path / "proc" / "5").mkdir()
    (tmp_path / "proc" / "5" / "comm").mkdir()  # cannot be read

    assert active_firewall(tmp_path) == "firewalld"


def test_this_machine() -> None:
    """Asking this machine needs no rights."""
    assert active_firewall() in {"ufw", "firewalld", ""}


@pytest.mark.parametrize(
    ("firewall", "ports", "command"),
    [
        ("ufw", (54100, 54101, 54102), "sudo ufw allow in on br-1 to any port 54100:54102 proto tcp"),
        ("ufw", (54102, 40009, 54101), "sudo ufw allow in on br-1 to any port 40009,54101:54102 proto tcp"),
        (
            "firewalld",
            (54100, 54101, 40009),
            "sudo firewall-cmd --zone=docker --add-port=40009/tcp --add-port=54100-54101/tcp",
        ),
        ("", (54100,), "sudo iptables -I INPUT -i br-1 -p tcp -m multiport --dports 54100 -j ACCEPT"),
    ],
)
def test_opening(firewall: Firewall, ports: tuple[int, ...], command: str) -> None:
    """The command opens these ports for containers, in the words of the firewall."""
    assert opening(firewall, "br-1", ports) == command
