"""A k3d backend on a machine of its own, for tests of what it does there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from obol.backends.k3d.backend import K3dBackend, K3dEnvironment
from obol.backends.kubernetes.api import Access
from obol.backends.ports import Backend, ClusterSpec, Step
from obol.machine.ports import Holder
from obol.rendering.registries import Mirror, registries_yaml
from tests.fakes.clock import FakeClock
from tests.fakes.k3d import FakeCluster, FakeMachine

ID = "calm-otter"
NAME = f"obol-stack-{ID}"
NODE = f"k3d-{NAME}-server-0"
MIRRORS = (Mirror("docker.io", "http://172.30.0.1:54100"), Mirror("ghcr.io", "http://172.30.0.1:54101"))
WIRED = registries_yaml(MIRRORS)
K3S = "docker.io/rancher/k3s:v1.35.5-k3s1"
PROXY, TOOLS = "ghcr.io/k3d-io/k3d-proxy:5.9.0", "ghcr.io/k3d-io/k3d-tools:5.9.0"
IMAGES = {K3S, PROXY, TOOLS}


@dataclass
class FakePorts:
    """Ports of which some are busy."""

    busy: set[int] = field(default_factory=set)
    privileged: set[int] = field(default_factory=set)
    """Busy ones that cannot be tried without being root."""
    addresses: set[str] = field(default_factory=set)
    """Where was looked."""
    full: bool = False
    """No port is free."""
    spare: Iterator[int] = field(default_factory=lambda: count(41000))

    def is_free(self, address: str, port: int) -> bool:
        self.addresses.add(address)
        return port not in self.busy and not self.full

    def listens(self, port: int) -> bool:
        return port in self.privileged

    def pick_free(self, addresses: tuple[str, ...]) -> int:
        self.addresses.update(addresses)
        if self.full:
            raise OSError(98, "all taken")
        return next(self.spare)

    def holder(self, port: int) -> Holder | None:
        return Holder(7, "nginx") if port == 80 else None


@dataclass
class Stack:
    """A backend on a machine."""

    machine: FakeMachine
    config: Path
    ports: FakePorts = field(default_factory=FakePorts)
    clock: FakeClock = field(default_factory=FakeClock)
    status: int | None = 200
    """What the API says."""
    asked: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Those of the latest step."""

    @property
    def step(self) -> Step:
        """A fresh step, whose notes are in `notes` then."""
        self.notes = []
        return Step(self.lines.append, self.notes)

    @property
    def backend(self) -> Backend:
        """A fresh one, as each command has."""
        around = K3dEnvironment(
            {"PATH": "/bin"}, self.network, self.clock, self.ports, self.ports.listens, self.probe, self.api
        )
        return K3dBackend(self.machine, self.config, around)

    async def network(self) -> str:
        self.machine.networks.add("obol-net")
        return "obol-net"

    async def probe(self, port: int, path: str) -> int | None:
        self.asked.append(f"{port}{path}")
        return 200

    async def api(self, access: Access) -> int | None:
        self.asked.append(access.server)
        return self.status

    def spec(self, mirrors: tuple[Mirror, ...] = MIRRORS) -> ClusterSpec:
        caches = {"docker.io": 54100, "ghcr.io": 54101}
        return ClusterSpec(ID, self.config, self.config.parent / "data", mirrors, loopback=caches)

    def holds(self, registries: str = WIRED, *, runs: bool = True) -> FakeCluster:
        cluster = FakeCluster(True, runs, runs, registries, ["127.0.0.1:8080:80@loadbalancer"])
        self.machine.clusters[NAME] = cluster
        return cluster


def on_fresh_machine(folder: Path) -> Stack:
    """A machine that has everything but a cluster."""
    return Stack(FakeMachine(images=set(IMAGES)), folder / "config")
