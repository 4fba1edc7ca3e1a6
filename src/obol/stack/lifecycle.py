"""The life of a stack on one backend, against ports: what `up`, `down`, `purge` and `status` do, step by step.

Everything is safe to do again, also after an interruption at any point: each step looks at what is there first. For a
cluster the caches are never a reason to fail: where one does not serve, `up` says so, and nodes pull images directly.
A backend that runs nothing has the same life with fewer steps: caches start, and deploying fills them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

from obol.backends.ports import BACKENDS, NOTHING_SEEN, Addressed, ClusterSpec, Details, Inspectable, Step
from obol.client.ports import PulledImage, PullFailed
from obol.errors import ObolError
from obol.machine.docker.errors import NoAddressPool
from obol.machine.tasks import spawn
from obol.stack.caches import Wired
from obol.stack.fetching import expected, explained, fetch_ahead
from obol.stack.home import Identity, LastUp, claim
from obol.stack.keeping import Keeper
from obol.stack.measuring import Measurement, throughput_of, weigh
from obol.stack.outcomes import PurgeOutcome, StackStatus, UpImageOutcome, UpOutcome
from obol.stack.plan import Gain, served_since, time_saved
from obol.stack.reporter import Notes
from obol.stack.space import too_little_room

if TYPE_CHECKING:
    from obol.backends.ports import Backend, ClusterState, Deployed, Up
    from obol.caches.builtin.process import BuiltinEngine, Started
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.warming import Held, Holding, Warming
    from obol.machine.clock import Clock
    from obol.oci.references import ImageReference
    from obol.registry.control.api import EngineStatus
    from obol.rendering.registries import Mirror
    from obol.stack.caches import Caches
    from obol.stack.home import Home
    from obol.stack.outcomes import UpRequest
    from obol.stack.reclaim import LeakedNetworks
    from obol.stack.reporter import Reporter
    from obol.workloads.images import StackImage

T = TypeVar("T")

LOOK_WITHIN = 8.0
"""Seconds that a look at the cluster may take while a person waits for it."""


@dataclass(frozen=True, slots=True)
class ServingCaches:
    """The caches of one `up`."""

    started: Started | None = None
    """None where no engine of ours serves."""
    wired: Wired = field(default_factory=Wired)
    measurement: Measurement | None = None

    @property
    def engine(self) -> EngineStatus | None:
        """The builtin engine, where nodes ask it."""
        return self.started.status if self.started is not None and self.wired.mirrors else None


@dataclass(slots=True)
class _ClusterLook:
    """What is known of the cluster so far."""

    state: ClusterState | Literal["unknown"] = "unknown"
    details: Details = NOTHING_SEEN
    trouble: str = ""


class Lifecycle:
    """One stack on one backend."""

    def __init__(
        self,
        backend: Backend,
        caches: Caches,
        engine: BuiltinEngine,
        warmth: Warming,
        networks: LeakedNetworks | None,
        home: Home,
    ) -> None:
        self._backend = backend
        self._traits = BACKENDS[backend.name]
        self._caches = caches
        self._engine = engine
        self._warmth = warmth
        self._networks = networks
        self._home = home

    async def check(self) -> None:
        """Look whether this machine has what the backend needs. Raises ObolError."""
        await self._backend.check()

    async def up(self, request: UpRequest, reporter: Reporter, clock: Clock) -> UpOutcome:
        """Bring everything up and wait until it answers. Raises ObolError; what runs by then is left running.

        An error has the notes that the person was told before it.
        """
        if not self._traits.runs:
            return await self._fill(request, reporter, clock)
        notes, began, moment = Notes(reporter), clock.monotonic(), clock.wall()
        with contextlib.suppress(OSError):
            self._home.begin(moment)
        await self._backend.check()
        await asyncio.to_thread(claim, request.data, self._home.config)
        serving = await self._start_caches(request, notes)
        try:
            cluster, deployed = await self._start_cluster(request, serving, notes, clock)
            gain = await self._measure(request, serving, cluster)
        finally:
            if serving.measurement is not None:
                await asyncio.shield(serving.measurement.close(frozenset(), frozenset()))
        seconds = clock.monotonic() - began
        if gain is not None:
            gain = await asyncio.to_thread(weigh, self._caches.store, self._backend.name, gain, seconds)
        outcome = UpOutcome(
            request.identity,
            self._backend.name,
            cluster.created,
            deployed.url,
            serving.started,
            serving.wired.mirrors,
            seconds,
            gain,
            await self._held(request, serving.started),
            tuple(notes.told),
        )
        self._record(request, outcome, await self._pulled(serving.started, moment), clock)
        return outcome

    async def _fill(self, request: UpRequest, reporter: Reporter, clock: Clock) -> UpOutcome:
        """Bring up what there can be without a cluster: caches that hold every image, for a later one."""
        began, notes, found = clock.monotonic(), Notes(reporter), dict[str, int]()
        started = await self._caches.start()
        assert started is not None

        def before(holding: Holding) -> None:
            found.update(holding.held)
            if short := too_little_room(holding, started.status):
                notes(short)

        async def warm() -> Sequence[PulledImage | PullFailed]:
            with reporter.pulls(len(request.images)) as progress:
                return await self._warmth.warm(request.references, started.status, progress, before)

        spec = ClusterSpec("", self._home.config, request.data, (), warm=warm)
        outcomes = (await self._backend.apply(spec, request.manifests, Step(_unheard))).images
        seconds = clock.monotonic() - began
        pulled = [one for one in outcomes if isinstance(one, PulledImage)]
        registries = {name: (found.get(name, 0), 0) for name in [*(one.reference.registry for one in pulled), *found]}
        for one in pulled:
            held, fetched = registries[one.reference.registry]
            registries[one.reference.registry] = (held, fetched + one.bytes_from_upstream)
        saved = time_saved(found, await self._throughput())
        gain = Gain(sum(found.values()), sum(one.bytes_from_upstream for one in pulled), saved, registries)
        return UpOutcome(
            None,
            self._backend.name,
            caches=started,
            seconds=seconds,
            gain=gain,
            images=tuple(
                UpImageOutcome(image, warmed=one) for image, one in zip(request.images, outcomes, strict=True)
            ),
            notes=tuple(notes.told),
            complete=len(pulled) == len(outcomes),
        )

    async def _throughput(self) -> dict[str, float]:
        """Ask what each upstream was measured at; an engine that does not say so now spoils no result."""
        with contextlib.suppress(ObolError):
            running = await asyncio.to_thread(self._engine.status)
            return throughput_of(running.status) if running is not None else {}
        return {}

    async def _start_caches(self, request: UpRequest, notes: Notes) -> ServingCaches:
        if not request.use_caches:
            return ServingCaches()
        started = measurement = None
        try:
            with notes.step(self._caches.label) as step:
                started = await self._caches.start()
                if started is not None:
                    measurement = Measurement(self._engine)
                    await measurement.open(_registries(started) if self._caches.private else ())
                wired = await self._reclaiming(lambda: self._caches.wire(started, step), step)
        except ObolError as problem:
            notes(f"Without a cache, images are pulled directly: {problem}.")
            return ServingCaches(started, measurement=measurement)
        return ServingCaches(started if wired.by_builtin else None, wired, measurement)

    async def _start_cluster(
        self, request: UpRequest, serving: ServingCaches, notes: Notes, clock: Clock
    ) -> tuple[Up, Deployed]:
        """Bring the cluster and its workloads up; beside it, images are fetched ahead, and the caches looked after."""
        assert request.identity is not None
        stack_id, engine, measurement = request.identity.stack_id, serving.engine, serving.measurement
        spec = ClusterSpec(
            stack_id,
            self._home.config,
            request.data,
            serving.wired.mirrors,
            measurement.mirrors if measurement is not None else (),
            serving.wired.loopback,
        )
        beside: list[Coroutine[object, object, None]] = []
        if engine is not None:
            keeper = Keeper(self._engine, engine, clock, notes)
            restored = measurement.reopen if measurement is not None else _nothing
            spec = replace(spec, died=lambda: keeper.look(restored))
            beside.append(keeper.keep(restored))
            if request.prefetch:
                references = expected(request.references, self._home.last_up())
                beside.append(fetch_ahead(self._backend, stack_id, self._warmth, references, engine, notes))
        tasks = [spawn(work, name="beside up") for work in beside]
        try:
            with notes.step("Starting the cluster") as step:
                cluster = await self._reclaiming(lambda: self._backend.up(spec, step), step)
            with notes.step("Deploying the workloads") as step:
                deployed = await self._deploy(request, spec, engine, step)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return cluster, deployed

    async def _deploy(self, request: UpRequest, spec: ClusterSpec, engine: EngineStatus | None, step: Step) -> Deployed:
        """Deploy; where images are what is missing, and the caches know why, the error gives their reason."""
        try:
            return await self._backend.apply(spec, request.manifests, step)
        except ObolError as problem:
            if engine is None:
                raise
            raise await explained(problem, request.references, self._warmth, self._engine) from problem

    async def _measure(self, request: UpRequest, serving: ServingCaches, cluster: Up) -> Gain | None:
        """Tell what our nodes were given; None where that cannot be told from what others were given."""
        if serving.measurement is None or serving.engine is None or request.identity is None:
            return None
        peers: frozenset[str] = frozenset()
        if isinstance(self._backend, Addressed) and all(_by_address(mirror) for mirror in serving.wired.mirrors):
            with contextlib.suppress(ObolError):
                peers = await self._backend.addresses(request.identity.stack_id)
        gained = await serving.measurement.close(peers, serving.wired.own_addresses)
        # A node that was made has pulled something: where none of it was seen, it passed for another client's.
        unseen = gained is not None and cluster.created and not (gained.from_cache or gained.from_upstream)
        return None if unseen and peers else gained

    async def _reclaiming(self, work: Callable[[], Awaitable[T]], step: Step) -> T:
        """Do what may need a network; where Docker has no address pool left, free what was leaked and try once more."""
        try:
            return await work()
        except NoAddressPool:
            step("reclaiming networks that were left behind")
            freed = await self._networks.reclaim() if self._networks is not None else ()
            if not freed:
                raise
            step.tell(freed)
            return await work()

    async def _pulled(self, started: Started | None, moment: float) -> tuple[str, ...]:
        """Name what nodes have pulled: more than the manifests know of."""
        if started is None:
            return ()
        with contextlib.suppress(ObolError):
            return served_since(await asyncio.to_thread(self._engine.images), moment)
        return ()

    async def _held(self, request: UpRequest, started: Started | None) -> tuple[UpImageOutcome, ...]:
        """Look how much of each image the engine has, where it serves and can tell."""
        held: Mapping[ImageReference, Held] = {}
        if started is not None:
            with contextlib.suppress(ObolError):
                held = await self._warmth.held(request.references)
        return tuple(UpImageOutcome(image, held.get(image.reference)) for image in request.images)

    def _record(self, request: UpRequest, outcome: UpOutcome, served: Sequence[str], clock: Clock) -> None:
        images = tuple(dict.fromkeys([*map(str, request.references), *served]))
        mirrors = {mirror.registry: mirror.endpoint for mirror in outcome.mirrors}
        with contextlib.suppress(OSError):
            self._home.record(LastUp(clock.wall(), outcome.seconds, images, outcome.gain, mirrors))

    async def down(self, identity: Identity, reporter: Reporter) -> bool:
        """Stop the cluster; its images, its data and the caches stay. False: it did not run. Raises ObolError."""
        ran = await self._state(identity) in {"running", "unknown"}
        await self._backend.authorise()
        with reporter.step("Stopping the cluster"):
            await self._backend.down(identity.stack_id)
        return ran

    async def purge(self, identity: Identity | None, reporter: Reporter, *, images: bool, caches: bool) -> PurgeOutcome:
        """Remove the cluster and what we wrote for it; with `caches`, those too.

        All else is done where the cluster cannot be removed, too. Then it keeps its id, so that purging again is
        possible, and what stood in the way is raised: ObolError.
        """
        notes: list[str] = []
        problem: ObolError | None = None
        there = False
        if identity is not None:
            there = await self._state(identity) != "absent"
            try:
                await self._backend.authorise()
                with reporter.step("Removing the cluster"):
                    await self._backend.purge(identity.stack_id, images=images)
            except ObolError as failed:
                problem = failed
        with reporter.step("Reclaiming networks"):
            notes += await self._networks.reclaim() if self._networks is not None else ()
        if caches:
            with reporter.step("Removing the registry caches"):
                notes += await self._caches.remove()
        if problem is not None:
            raise problem
        return PurgeOutcome(there, await asyncio.to_thread(self._home.remove), tuple(notes))

    async def _state(self, identity: Identity) -> ClusterState | Literal["unknown"]:
        """Look whether the cluster runs; what acts on it tells why that cannot be known."""
        with contextlib.suppress(ObolError, TimeoutError):
            async with asyncio.timeout(LOOK_WITHIN):
                return await self._backend.state(identity.stack_id)
        return "unknown"

    async def status(self, identity: Identity | None, images: Sequence[StackImage]) -> StackStatus:
        """Look at everything and change nothing: in seconds, also where the cluster does not answer.

        Raises EngineUnresponsive.
        """
        running = await asyncio.to_thread(self._engine.status)
        held: Mapping[ImageReference, Held] = {}
        if running is not None:
            held = await self._warmth.held([image.reference for image in images])
        seen = tuple((image, held.get(image.reference)) for image in images)
        if identity is None:
            return StackStatus(None, "absent", caches=running, images=seen)
        look = _ClusterLook()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(identity.stack_id, look))
            named = group.create_task(self._named())
        return StackStatus(
            identity,
            look.state,
            self._home.last_up(),
            self._home.unfinished(),
            named.result(),
            look.details,
            look.trouble,
            running,
            seen,
        )

    async def _look(self, stack_id: str, look: _ClusterLook) -> None:
        """Look at the cluster, for as long as a person waits for it. What is known by then is known."""
        try:
            async with asyncio.timeout(LOOK_WITHIN):
                look.state = await self._backend.state(stack_id)
                if look.state != "absent" and isinstance(self._backend, Inspectable):
                    look.details = await self._backend.details(stack_id)
        except ObolError as problem:
            look.trouble = str(problem)
        except TimeoutError:
            look.trouble = f"{self._backend.name} did not answer within {LOOK_WITHIN:g} seconds"

    async def _named(self) -> tuple[ContainerSeen, ...]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_WITHIN):
                return await self._caches.containers()
        return ()


def _registries(started: Started) -> list[str]:
    return list(dict.fromkeys(listener.registry for listener in started.status.listeners))


def _by_address(mirror: Mirror) -> bool:
    """Whether nodes ask at an address: by a name they get to where all containers come from one address."""
    host = urlsplit(mirror.endpoint).hostname or ""
    return host.replace(".", "").isdigit() or ":" in host


def _unheard(line: str) -> None:
    """Show no line: the images themselves are shown as they come."""


async def _nothing() -> None:
    return
