"""A stack on nothing: caches, a way to warm them and a backend that do as told."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec.structs import replace

from obol.backends.none import NoBackend
from obol.backends.ports import BackendName, ClusterSpec, ClusterState, Deployed, Step, Up, Watch
from obol.caches.builtin.process import BuiltinEngine, Running, Started
from obol.caches.containers.engine import ContainerSeen
from obol.caches.reachable import Substitute
from obol.caches.warming import Held, Holding, Warming
from obol.client.ports import Kind, Progress, PulledImage, PullFailed, Silence
from obol.errors import EngineUnresponsive, ObolError, PortTaken
from obol.oci.references import Digest, ImageReference
from obol.registry.control.api import AccountStatus, EngineStatus, Given, HeldImage, Inventory, Listener
from obol.rendering.registries import Mirror
from obol.stack.caches import HostCaches, Wired
from obol.stack.home import Home, Identity
from obol.stack.lifecycle import Lifecycle
from obol.stack.outcomes import UpRequest
from obol.stack.reclaim import LeakedNetworks
from obol.workloads.images import StackImage
from obol.workloads.sources import ManifestFile
from tests.fakes.control import status_body

NOTHING = Holding({}, 0)
LITELLM = StackImage(ImageReference.parse("ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable"), ("litellm",))
PAUSE = StackImage(ImageReference.parse("rancher/mirrored-pause:3.6"), ("k3s v1.35.5+k3s1",))


def engine_status() -> EngineStatus:
    """What a running engine says; docker.io was measured at 1.5 MB/s."""
    return msgspec.json.decode(status_body(Path("/s")), type=EngineStatus)


def pulled(image: StackImage, *, from_cache: int = 0, from_upstream: int = 0) -> PulledImage:
    """An image that is in the cache now."""
    total = from_cache + from_upstream
    return PulledImage(
        image.reference, Digest.of(b"x"), ("linux/amd64",), 3, total, from_cache, from_upstream, seconds=1.25
    )


def failed(image: StackImage, kind: Kind = Kind.ABSENT, retry_after: float | None = None) -> PullFailed:
    """An image that could not be had."""
    return PullFailed(image.reference, kind, why="for a reason", hint="do something", retry_after=retry_after)


@dataclass
class FakeCaches(BuiltinEngine):
    """An engine that does as told."""

    running: Running | None = None
    differs: tuple[str, ...] = ()
    substitutes: tuple[Substitute, ...] = ()
    problem: BaseException | None = None
    held: tuple[HeldImage, ...] = ()
    taken: frozenset[int] = frozenset()
    refusing: ObolError | None = None
    account: AccountStatus | None = None
    given: tuple[Given, ...] = ()
    whole: bool = True
    calls: list[str] = field(default_factory=list)

    def start(self) -> Started:
        self.calls.append("start")
        already, self.running = self.running is not None, Running(engine_status())
        return Started(self.running.status, already, self.substitutes, self.differs)

    def stop(self) -> bool:
        self.calls.append("stop")
        stopped, self.running = self.running is not None, None
        return stopped

    def status(self) -> Running | None:
        """Tell, or raise `problem`."""
        self.calls.append("status")
        if self.problem:
            raise self.problem
        return self.running

    def images(self) -> Inventory:
        """List `held`."""
        return Inventory(self.held)

    def listen(self, listener: Listener) -> Listener:
        """Listen there, unless that is `taken`."""
        self.calls.append(f"listen {listener.address}:{listener.port}")
        if listener.port in self.taken:
            raise PortTaken("taken")
        return listener

    def open_account(self, listeners: Sequence[Listener]) -> AccountStatus:
        """Open one, with ports from 40000 on; raises `refusing`."""
        if self.refusing:
            raise self.refusing
        self.calls.append("open account")
        opened = [replace(one, port=one.port or 40000 + number) for number, one in enumerate(listeners)]
        self.account = AccountStatus("a", self.whole, tuple(opened))
        return self.account

    def close_account(self, name: str) -> AccountStatus:
        """Close it, with what was `given`."""
        self.calls.append("close account")
        if self.account is None:
            raise EngineUnresponsive("there is no such account")
        account, self.account = self.account, None
        return replace(account, given=self.given)


class FakeWarmth(Warming):
    """A `Warming` with outcomes and holdings by reference; what it was not told of is fetched, and is missing."""

    __setattr__, __repr__ = object.__setattr__, object.__repr__

    def __init__(
        self,
        outcomes: dict[ImageReference, PulledImage | PullFailed] | None = None,
        holdings: dict[ImageReference, Held] | None = None,
        holds: Holding = NOTHING,
    ) -> None:
        self.outcomes = outcomes or {}
        self.holdings = holdings or {}
        self.holds = holds
        self.engines: list[EngineStatus] = []
        self.asked: list[Sequence[ImageReference]] = []

    async def warm(
        self,
        references: Sequence[ImageReference],
        engine: EngineStatus,
        progress: Progress,
        before: Callable[[Holding], None] | None = None,
    ) -> tuple[PulledImage | PullFailed, ...]:
        """Give the outcomes, and tell `progress`."""
        if before is not None:
            before(self.holds)
        self.engines.append(engine)
        self.asked.append(references)
        found: list[PulledImage | PullFailed] = []
        for reference in references:
            outcome = self.outcomes.get(reference) or pulled(StackImage(reference, ()), from_upstream=1 << 20)
            if isinstance(outcome, PulledImage):
                progress.found(reference, outcome.bytes_total)
                progress.done(outcome)
            else:
                progress.failed(outcome)
            found.append(outcome)
        return tuple(found)

    async def held(self, references: Sequence[ImageReference]) -> Mapping[ImageReference, Held]:
        return {reference: self.holdings.get(reference, "missing") for reference in references}


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
        self._do("check")

    async def authorise(self) -> None:
        """May do it all, unless that fails."""
        if self.failing.get("authorise"):
            raise self.failing["authorise"].pop(0)

    async def state(self, stack_id: str) -> ClusterState:
        self._do(f"state {stack_id}")
        return self.running

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        self._do("up")
        self.spec = spec
        await asyncio.sleep(0)  # others get on meanwhile
        step("one node")
        step.note("a note of the cluster")
        created, self.running = self.running == "absent", "running"
        return Up(created=created)

    async def apply(self, spec: ClusterSpec, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
        self._do("apply")
        return Deployed("http://localhost")

    async def down(self, stack_id: str) -> None:
        self._do(f"down {stack_id}")

    async def purge(self, stack_id: str, *, images: bool) -> None:
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
        self.calls.append("start")
        if self.problem:
            raise self.problem
        return Started(engine_status(), already=False)

    async def wire(self, started: Started | None, step: Step) -> Wired:
        self.calls.append("wire")
        step.note("a note of the caches")
        return Wired(self.mirrors)

    async def containers(self) -> tuple[ContainerSeen, ...]:
        return ()

    async def remove(self) -> tuple[str, ...]:
        self.calls.append("remove")
        return ("caches removed",)


class FakeNetworks(LeakedNetworks):
    """Networks of which `leaked` can be freed."""

    def __init__(self) -> None:
        self.leaked = 0

    async def reclaim(self) -> tuple[str, ...]:
        freed, self.leaked = self.leaked, 0
        return (f"{freed} networks freed",) if freed else ()


@dataclass
class FakeReporter:
    """Notes the steps, and how they ended."""

    seen: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    shown: tuple[str, ...] = ()
    expected: list[str] | None = None

    def expect(self, images: Sequence[str]) -> None:
        self.expected = list(images)

    def note(self, text: str) -> None:
        """Keep a sentence that is not as urgent."""
        self.noted.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def show(self, images: Sequence[str], earlier: Sequence[str], *, foretold: bool) -> None:
        self.shown = (*images, *earlier)

    @contextmanager
    def pulls(self, count: int) -> Iterator[Progress]:
        yield Silence()

    @contextmanager
    def step(self, label: str) -> Iterator[Watch]:
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
        return Lifecycle(self.backend, self.caches, self.engine, self.warmth, self.networks, self.home)

    @property
    def on_none(self) -> Lifecycle:
        caches = HostCaches(self.engine, Path("/nowhere"))
        return Lifecycle(NoBackend(), caches, self.engine, self.warmth, self.networks, self.home)

    def wanted(self, *, use_caches: bool = True) -> UpRequest:
        """What `up` is to bring up."""
        return UpRequest(WHO, self.home.config / "data", (), (LITELLM,), use_caches=use_caches)
