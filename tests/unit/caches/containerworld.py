"""A Docker that runs nothing, ports that nobody has, and registries that answer as told."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from obol.caches.containers.plan import ContainersPlan, RegistryContainer, push_registry
from obol.machine.docker.cli import Docker
from obol.machine.docker.values import Network
from tests.fakes.clock import FakeClock
from tests.fakes.docker import Json, container
from tests.fakes.ports import FakePorts
from tests.fakes.runner import FakeRunner

HUB = RegistryContainer("docker.io", "https://registry-1.docker.io", 54100)
GHCR = RegistryContainer("ghcr.io", "https://ghcr.io", 54101)
QUAY = RegistryContainer("quay.io", "https://quay.io", 54102)
PUSH = push_registry()
NETWORK = Network("n1", "obol-net", gateway="172.18.0.1", bridge="br-n1")


@dataclass
class World:
    """All that bringing containers up takes."""

    root: Path
    runner: FakeRunner = field(default_factory=FakeRunner)
    clock: FakeClock = field(default_factory=FakeClock)
    ports: FakePorts = field(default_factory=FakePorts)
    silent: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """How many times a port does not answer before it does."""
    asked: list[tuple[int, str]] = field(default_factory=list)

    @property
    def docker(self) -> Docker:
        return Docker(self.runner)

    def plan(self, *caches: RegistryContainer, image: str = "registry:3") -> ContainersPlan:
        return ContainersPlan(self.root, caches, image)

    async def ask(self, port: int, path: str) -> int | None:
        """Answer with 200, or not at all."""
        self.asked.append((port, path))
        if self.silent[port]:
            self.silent[port] -= 1
            return None
        return 200

    def changes(self) -> list[str]:
        return [line for line in self.runner.lines if not _ASKS.intersection(line.split()[1:3])]

    def seen(self, cache: RegistryContainer, *, status: str = "running", networks: Sequence[str] = ("n1",)) -> Json:
        return container(
            cache.name,
            status=status,
            labels={"app": "k3d", "k3d.role": "registry", "obol.cache": cache.registry},
            networks={f"net-{id_}": id_ for id_ in networks},
            port=cache.port,
            environment=[f"REGISTRY_PROXY_REMOTEURL={cache.upstream}"] if cache.upstream else [],
            storage=str(self.root / cache.directory),
        )


_ASKS = {"inspect", "ps", "ls", "logs", "info", "version"}
