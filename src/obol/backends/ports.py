"""What the stack runs on, as a port, and what was seen of the programs that could run it. Values only: no I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from obol.rendering.names import stack_name

if TYPE_CHECKING:
    from obol.client.ports import PulledImage, PullFailed
    from obol.rendering.registries import Mirror
    from obol.workloads.sources import ManifestFile

BackendName = Literal["k3d", "k3s", "podman", "none"]
"""The names of the rows of BACKENDS, for types and for the schema of results."""
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
    """What this machine has to run a stack on."""

    programs: tuple[Program, ...]
    """Those that the backends are made of."""
    is_root: bool = False

    def answers(self, names: Iterable[str]) -> bool:
        """Whether all of these programs can be used."""
        return {one.name for one in self.programs if one.answers}.issuperset(names)


@dataclass(frozen=True, slots=True)
class Traits:
    """What a backend is like, for code that does not ask which one it is."""

    name: BackendName
    module: str
    """The Python module that makes it: `build(environment)`."""
    programs: tuple[str, ...] = ()
    """The programs that it needs; none: it can be had only by its name, or where no other can."""
    runs: bool = True
    """False: it runs nothing, and an `up` only fills the caches."""
    wants_root: bool = False
    """It changes the machine itself: without a wish it is the last choice, and only for root."""
    caches: Literal["gateway", "ports", "address", "none"] = "none"
    """How its nodes reach the caches: at the gateway of a Docker network; on loopback, on ports of each `up`, or at an
    address of their own."""
    brings_kubernetes_images: bool = False
    """Its nodes ask the caches for the images of k3s, too."""
    can_hot_swap: bool = False
    looks_for_pushed_images: bool = False
    """Its nodes look for images of the registry to push to, also where obol runs none."""
    marks_clusters: bool = False
    """Its clusters bear a mark of the directory that they were made for."""
    keeps_images: bool = False
    """Images stay when the stack is removed, until they are removed on request."""
    cluster: str = "the cluster"
    """What a person calls that which runs."""
    files: tuple[str, ...] = ()
    """What it leaves in the directory of the stack."""
    shown_by: str = "any will do"
    """Where a person sees what the stack is called."""


BACKENDS: dict[BackendName, Traits] = {
    row.name: row
    for row in (
        Traits(
            "k3d",
            "obol.backends.k3d.backend",
            programs=("docker", "k3d"),
            caches="gateway",
            brings_kubernetes_images=True,
            can_hot_swap=True,
            looks_for_pushed_images=True,
            marks_clusters=True,
            files=("registries.yaml", "kubeconfig.yaml"),
            shown_by="`k3d cluster list` shows obol-stack-NAME",
        ),
        Traits(
            "k3s",
            "obol.backends.k3s.backend",
            programs=("k3s",),
            wants_root=True,
            caches="address",
            looks_for_pushed_images=True,
            files=("registries.yaml", "kubeconfig.yaml"),
            shown_by="`obol kubectl get nodes -L obol.cluster-id` may show it",
        ),
        Traits(
            "podman",
            "obol.backends.podman.backend",
            programs=("podman",),
            caches="ports",
            keeps_images=True,
            cluster="its pods and their volumes",
            files=("registries.conf",),
            shown_by="`podman pod ps` shows what runs",
        ),
        Traits("none", "obol.backends.none", runs=False, brings_kubernetes_images=True),
    )
}
"""A row for each backend: nothing else but its own modules knows which ones there are."""
NONE: BackendName = "none"
ORIGINAL: BackendName = "k3d"
"""What a stack runs on that does not say so: the original system knew no other."""


def by_preference() -> list[Traits]:
    """The backends, those first that this machine should run without a wish of the person."""
    return sorted(BACKENDS.values(), key=lambda row: row.wants_root)


@dataclass(frozen=True, slots=True)
class BackendEnvironment:
    """What a backend may need of its surroundings; each takes its part."""

    config: Path
    """The directory of the stack."""
    environ: Mapping[str, str]
    """What the programs get that it calls."""
    network: Callable[[], Awaitable[str]]
    """Makes sure that the Docker network of all clusters is there, and gives its name."""
    listen: Callable[[str], Awaitable[str | None]]
    """Makes a registry cache answer on an address of this machine; gives host:port, or None where it does not."""
    mark: str = ""
    """Of the directory of the stack, for its clusters; see `rendering.names`."""
    interactive: bool = True
    """Whether sudo may ask for a password."""
    lines: Callable[[str], None] | None = None
    """Takes what may be shown of what programs say; None where the person does not want to see it."""
    note: Callable[[str], None] | None = None
    """Takes what is waited for after a Ctrl-C."""


async def never() -> bool:
    """Caches that do not die."""
    return False


async def no_images() -> tuple[PulledImage | PullFailed, ...]:
    """Caches that are not to be filled."""
    return ()


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
    warm: Callable[[], Awaitable[Sequence[PulledImage | PullFailed]]] = no_images
    """Brings every image of the stack into the caches. Raises EngineNotRunning, EngineUnresponsive."""

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
    """Where LiteLLM answers, from this machine; "" where it does not."""
    images: tuple[PulledImage | PullFailed, ...] = ()
    """What became of the images that it warmed, in the order of the stack's."""


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

    async def apply(self, spec: ClusterSpec, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
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
