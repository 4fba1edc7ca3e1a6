"""What the stack runs on, as a port, and what was seen of the programs that could run it. Values only: no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from obol.rendering.names import stack_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from obol.rendering.registries import Mirror
    from obol.workloads.sources import Manifest

BackendName = Literal["k3d", "k3s", "podman", "none"]
ClusterState = Literal["absent", "stopped", "running"]

Watch = Callable[[str], None]
"""Takes a short line about what goes on right now, such as "litellm: 0 of 1 ready"."""


@dataclass(slots=True)
class Step:
    """One step of a command, for the code that does it: a `Watch` that takes notes, too."""

    watch: Watch
    notes: list[str] = field(default_factory=list)
    """Sentences that the person is to read when the step has ended, also where it fails."""

    def __call__(self, line: str) -> None:
        """Say what goes on right now."""
        self.watch(line)

    def note(self, text: str) -> None:
        """Have the person read a sentence."""
        if text not in self.notes:
            self.notes.append(text)

    def tell(self, texts: Iterable[str]) -> None:
        """Have the person read several."""
        for text in texts:
            self.note(text)


@dataclass(frozen=True, slots=True)
class Program:
    """One program of this machine."""

    name: str
    version: str = ""
    """What it says when it is asked and answers; "" where it does not."""
    trouble: str = ""
    """Why it is there and yet of no use; "" where it answers, or is not installed."""

    @property
    def answers(self) -> bool:
        """Whether it can be used."""
        return bool(self.version)

    @property
    def installed(self) -> bool:
        """Whether it is there at all."""
        return bool(self.version or self.trouble)


@dataclass(frozen=True, slots=True)
class Runtimes:
    """The programs that backends are made of."""

    docker: Program
    k3d: Program
    podman: Program
    k3s: Program = Program("k3s")
    is_root: bool = False
    """Whether we are root, which k3s takes."""

    @property
    def programs(self) -> tuple[Program, ...]:
        """All of them."""
        return self.docker, self.k3d, self.podman, self.k3s


async def never() -> bool:
    """Caches that nobody looks after."""
    return False


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """The stack that is to run."""

    stack_id: str
    """Two words, at most 21 characters: the cluster is `obol-stack-<id>`."""
    config: Path
    """Where what we render for the backend is kept; a kubeconfig too."""
    data: Path
    mirrors: tuple[Mirror, ...]
    """None: images are pulled directly."""
    own: tuple[Mirror, ...] = ()
    """Mirrors that are there during this `up` only, for its own pulls: asked before the others, and written nowhere."""
    loopback: Mapping[str, int] = field(default_factory=dict)
    """By registry: the port of its cache on loopback, for what this machine's own Docker pulls."""
    died: Callable[[], Awaitable[bool]] = never
    """Has the caches started again, if they died; tells whether they did since this `up` began. Never raises."""

    @property
    def name(self) -> str:
        """The cluster's name."""
        return stack_name(self.stack_id)


@dataclass(frozen=True, slots=True)
class Up:
    """The cluster runs."""

    created: bool
    """It was not there before."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The workloads are ready."""

    url: str
    """Where LiteLLM answers, from this machine."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster, be it a container."""

    name: str
    """Its name."""
    role: str
    """What the backend calls it: server, agent, loadbalancer."""
    running: bool
    """Whether it runs."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that the stack runs."""

    name: str
    """Its name, as in litellm."""
    ready: int
    """Parts of it that are ready."""
    wanted: int
    """Parts of it that it should have."""
    why: str = ""
    """Why not all of it is ready, in a word or two."""
    url: str = ""
    """Where it answers, from this machine; "" where it does not, or where that is not known."""


@dataclass(frozen=True, slots=True)
class Details:
    """What there is to see of a cluster."""

    nodes: tuple[Node, ...] = ()
    workloads: tuple[Workload, ...] = ()


NOTHING_SEEN = Details()


@runtime_checkable
class Inspectable(Protocol):
    """A backend that can tell more of a cluster than its state."""

    async def details(self, stack_id: str) -> Details:
        """Look at what there is now, and change nothing. Raises ObolError."""
        ...


@runtime_checkable
class Addressed(Protocol):
    """A backend whose nodes have addresses of their own."""

    async def addresses(self, stack_id: str) -> frozenset[str]:
        """The addresses of the nodes that run. Raises ObolError."""
        ...


@runtime_checkable
class Stocked(Protocol):
    """A backend that can tell which images its nodes have."""

    async def lacking(self, stack_id: str, images: Sequence[str]) -> Collection[str]:
        """Those of these images that nodes may still ask the caches for, also where that is not known.

        Raises ObolError.
        """
        ...


class Backend(Protocol):
    """One kind of cluster. Everything is safe to call again, also after an interruption."""

    @property
    def name(self) -> BackendName:
        """What people call it."""
        ...

    async def check(self) -> None:
        """Look that all that is needed is there. Raises DependencyMissing or another ObolError with the remedy."""
        ...

    async def authorise(self) -> None:
        """Get the rights that stopping and removing it take; the person may be asked. Raises ObolError."""
        ...

    async def state(self, stack_id: str) -> ClusterState:
        """Look at what runs now."""
        ...

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        """Create or start the cluster with its mirrors, and wait until it answers. Raises ObolError."""
        ...

    async def apply(self, spec: ClusterSpec, manifests: Sequence[Manifest], step: Step) -> Deployed:
        """Deploy, and wait until all is ready. Raises ObolError and leaves everything running to be looked at."""
        ...

    async def down(self, stack_id: str) -> None:
        """Stop it; images and data stay. Nothing there is no error."""
        ...

    async def purge(self, stack_id: str, *, images: bool) -> None:
        """Remove it; with `images`, what it pulled too, where that is not part of it. Nothing there is no error."""
        ...


async def no_caches(_address: str) -> str | None:
    """Registry caches that answer nowhere but on loopback."""
    return None
