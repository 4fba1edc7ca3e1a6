"""What the cache containers are to be: names, ports, directories and labels.

These are the original system's, so that its containers and their content are found and used, and k3d's labels are on
them, so that `k3d registry list` shows them. They differ in what others can see and do: they are published on loopback
only, and are not privileged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.machine.docker.cli import ContainerSpec
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.rendering.names import LOOPBACK
from obol.rendering.registries import Mirror

if TYPE_CHECKING:
    from obol.machine.commands import User
    from obol.machine.docker.values import Container

DEFAULT_IMAGE = "registry:3"
PUSH_PORT = 54103
LABEL = "obol.cache"
INNER_PORT = 5000
STORAGE = "/var/lib/registry"

UPSTREAM = "REGISTRY_PROXY_REMOTEURL"
PREFIX = "k3d-obol-"
_SUFFIX = ".localhost"


@dataclass(frozen=True, slots=True)
class RegistryContainer:
    """One registry, and the container that stands in front of it."""

    registry: str
    """Its name in references; of the push registry localhost:54103, also where another port had to be taken."""
    upstream: str
    """Where its API is; "" for the push registry, which has nothing behind it."""
    port: int
    """The wanted one on loopback; 0 stands for any."""

    @property
    def name(self) -> str:
        """As in k3d-obol-docker-io.localhost; under it the nodes find the container, too."""
        word = self.registry.replace(".", "-").replace(":", "-") if self.upstream else "local"
        return f"{PREFIX}{word}{_SUFFIX}"

    @property
    def directory(self) -> str:
        """Where its content is, under the cache root."""
        return self.registry.replace(":", "_")

    def mirror(self, port: int) -> Mirror:
        """The mirror for the configuration of nodes, when it is published on `port`."""
        # An image that was pushed to localhost:40003 is called so in a manifest, too.
        registry = self.registry if self.upstream else f"localhost:{port}"
        return Mirror(registry, f"http://{self.name}:{INNER_PORT}", takes_pushes=not self.upstream)

    def spec(self, *, image: str, network: str, port: int, directory: Path) -> ContainerSpec:
        """What Docker is asked for."""
        proxy = {UPSTREAM: self.upstream, "REGISTRY_PROXY_TTL": "0"} if self.upstream else {}
        if self.upstream:
            # For our own image: the registry that nodes ask for may be behind an address with another name.
            proxy["OBOL_CACHE_UPSTREAM"] = f"{self.registry}={self.upstream}"
        return ContainerSpec(
            name=self.name,
            image=image,
            network=network,
            publish=(f"{LOOPBACK}:{port}:{INNER_PORT}",),
            # z: where SELinux rules, containers may use the directory.
            volumes=(f"{directory}:{STORAGE}:z",),
            environment=proxy,
            labels={
                "app": "k3d",
                "k3d.cluster": "",
                "k3d.registry.host": "",
                "k3d.registry.hostIP": LOOPBACK,
                "k3d.role": "registry",
                "k3s.registry.port.external": str(port),
                "k3s.registry.port.internal": str(INNER_PORT),
                LABEL: self.registry,
            },
            restart="unless-stopped",
        )

    def outdated(self, found: Container) -> bool:
        """Whether a container of ours is in front of another upstream than it is to be."""
        return found.labels.get(LABEL) == self.registry and not self._same_upstream(found)

    def foreign(self, found: Container) -> bool:
        """Whether a container that others made has our name, and is something else."""
        return found.labels.get(LABEL, self.registry) != self.registry or not self._same_upstream(found)

    def _same_upstream(self, found: Container) -> bool:
        return found.environment.get(UPSTREAM, "").rstrip("/") == self.upstream


@dataclass(frozen=True, slots=True)
class ContainersPlan:
    """All of them."""

    root: Path
    """The cache root: content is in a directory for each registry."""
    caches: tuple[RegistryContainer, ...]
    image: str = DEFAULT_IMAGE
    loopback: Mapping[str, int] = field(default_factory=dict)
    """Where the builtin engine serves which registry, if it runs: the image is pulled through it."""
    account: User | None = None
    """The person whom sudo made root: the directories are theirs."""

    @property
    def memory(self) -> Path:
        """Where chosen ports are remembered."""
        return self.root / "containers"

    @property
    def gateway_memory(self) -> Path:
        """Where the ports are remembered that the builtin engine has on the gateway of the network."""
        return self.root / "gateway"

    def directory(self, cache: RegistryContainer) -> Path:
        """Where the content of one is."""
        return self.root / cache.directory


def push_registry(port: int = PUSH_PORT) -> RegistryContainer:
    """The registry of development mode, into which images are pushed."""
    return RegistryContainer(f"localhost:{PUSH_PORT}", "", port)


def published_port(found: Container) -> int:
    """The port of the host that leads to it; 0 where there is none, or none yet."""
    inner = f"{INNER_PORT}/tcp"
    return next((published.port for published in found.published if published.inner == inner), 0)


def forgets(image: str) -> bool:
    """Whether an image of a container is distribution 2, which drops what it has stored after 7 days."""
    try:
        reference = ImageReference.parse(image)
    except OciError:  # an ID
        return False
    return reference.repository == "library/registry" and (reference.tag or "").partition(".")[0] == "2"


def notes_on(plan: ContainersPlan, cache: RegistryContainer, found: Container) -> tuple[str, ...]:
    """What a container that runs is not as we would make it: a sentence each."""
    again = f"`docker rm -f {cache.name}`, and the next start makes it anew over the same directory"
    notes = []
    if forgets(found.image):
        notes.append(f"{cache.name} runs {found.image}, which drops what it has stored after 7 days; {again}")
    if any(published.address != LOOPBACK for published in found.published):
        notes.append(f"{cache.name} can be used by everybody on your network; {again}, on loopback only")
    source, wanted = found.mounts.get(STORAGE, ""), str(plan.directory(cache))
    # Docker Desktop shows a directory of the host by its path in the virtual machine.
    if source and not source.endswith(wanted):
        notes.append(f"{cache.name} keeps its content in {source}, not in {wanted}")
    return tuple(notes)
