"""A stack on a cluster: a backend, caches and steps that do as told."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.backends.ports import Deployed, Up
from obol.caches.ports import Running, Started
from obol.rendering.registries import Mirror
from obol.stack.caches import Wired
from obol.stack.home import Home, Identity
from obol.stack.lifecycle import Lifecycle, Wanted
from tests.unit.stack.world import LITELLM, FakeCaches, FakeWarmth, engine_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obol.backends.ports import BackendName, ClusterSpec, ClusterState, Step, Watch
    from obol.caches.containers.engine import ContainerSeen
    from obol.errors import ObolError
    from obol.workloads.sources import Manifest

WHO = Identity("brave-otter", "k3d")
MIRRORS = (Mirror("docker.io", "http://172.18.0.1:54100"),)


@dataclass
class FakeBackend:
    """A cluster that does as told; `failing` maps a call to what it raises, once each."""

    failing: dict[str, list[BaseException]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    spec: ClusterSpec | None = None
    running: ClusterState = "absent"
    name: BackendName = "k3d"

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if self.failing.get(what):
            raise self.failing[what].pop(0)

    async def check(self) -> None:
        """Look."""
        self._do("check")

    async def authorise(self) -> None:
        """May do it all, unless that fails."""
        if self.failing.get("authorise"):
            raise self.failing["authorise"].pop(0)

    async def state(self, stack_id: str) -> ClusterState:
        """Tell."""
        self._do(f"state {stack_id}")
        return self.running

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        """Start."""
        self._do("up")
        self.spec = spec
        await asyncio.sleep(0)  # others get on meanwhile
        step("one node")
        step.note("a note of the cluster")
        created, self.running = self.running == "absent", "running"
        return Up(created=created)

    async def apply(self, spec: ClusterSpec, manifests: Sequence[Manifest], step: Step) -> Deployed:
        """Deploy."""
        self._do("apply")
        return Deployed("http://localhost")

    async def down(self, stack_id: str) -> None:
        """Stop."""
        self._do(f"down {stack_id}")

    async def purge(self, stack_id: str, *, images: bool) -> None:
        """Remove."""
        self._do(f"purge {stack_id} {images}")
        self.running = "absent"


@dataclass
class StackCaches:
    """Caches that nodes reach, or not."""

    problem: ObolError | None = None
    calls: list[str] = field(default_factory=list)
    label: str = "Starting the registry caches"
    private: bool = True
    mirrors: tuple[Mirror, ...] = MIRRORS
    store: Path = Path("/nowhere")

    async def start(self) -> Started | None:
        """Start."""
        self.calls.append("start")
        if self.problem:
            raise self.problem
        return Started(engine_status(), already=False)

    async def wire(self, started: Started | None, step: Step) -> Wired:
        """Wire."""
        self.calls.append("wire")
        step.note("a note of the caches")
        return Wired(self.mirrors)

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """None."""
        return ()

    async def remove(self) -> tuple[str, ...]:
        """Remove."""
        self.calls.append("remove")
        return ("caches removed",)


@dataclass
class FakeNetworks:
    """Networks of which `leaked` can be freed."""

    leaked: int = 0

    async def reclaim(self) -> tuple[str, ...]:
        """Free them."""
        freed, self.leaked = self.leaked, 0
        return (f"{freed} networks freed",) if freed else ()


@dataclass
class FakeReporter:
    """Notes the steps, and how they ended."""

    seen: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    expected: list[str] | None = None

    def expect(self, images: Sequence[str]) -> None:
        """Keep which images will come."""
        self.expected = list(images)

    def warn(self, text: str) -> None:
        """Keep a sentence."""
        self.warned.append(text)

    @contextmanager
    def step(self, label: str) -> Iterator[Watch]:
        """Take a step."""
        try:
            yield lambda line: self.seen.append(f"  {line}")
        except BaseException:
            self.seen.append(f"{label}: failed")
            raise
        self.seen.append(label)


@dataclass
class World:
    """All of it."""

    home: Home
    backend: FakeBackend = field(default_factory=FakeBackend)
    caches: StackCaches = field(default_factory=StackCaches)
    engine: FakeCaches = field(default_factory=lambda: FakeCaches(Running(engine_status())))
    warmth: FakeWarmth = field(default_factory=FakeWarmth)
    networks: FakeNetworks = field(default_factory=FakeNetworks)
    reporter: FakeReporter = field(default_factory=FakeReporter)

    @property
    def stack(self) -> Lifecycle:
        """The stack over these parts."""
        return Lifecycle(self.backend, self.caches, self.engine, self.warmth, self.networks, self.home)

    def wanted(self, *, use_caches: bool = True) -> Wanted:
        """What `up` is to bring up."""
        return Wanted(WHO, self.home.config / "data", (), (LITELLM,), use_caches=use_caches)
