"""What `up`, `down`, `purge` and `status` do where there is a cluster, against ports.

Everything is safe to do again, also after an interruption at any point: each step looks at what is there first. The
caches are never a reason to fail: where one does not serve, `up` says so, and images are pulled directly.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

from obol.backends.ports import NOTHING_SEEN, Addressed, ClusterSpec, Details, Inspectable
from obol.errors import ObolError
from obol.machine.docker.errors import NoAddressPool
from obol.machine.tasks import spawn
from obol.stack.caches import Wired
from obol.stack.fetching import expected, explained, fetch_ahead
from obol.stack.home import LastUp, claim
from obol.stack.keeping import Keeper
from obol.stack.measuring import Measurement, weigh
from obol.stack.plan import served_since
from obol.stack.reporter import Notes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from obol.backends.ports import Backend, ClusterState, Deployed, Step, Up
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.ports import Started
    from obol.caches.warming import Held
    from obol.machine.clock import Clock
    from obol.oci.references import ImageReference
    from obol.registry.control.api import EngineStatus
    from obol.rendering.registries import Mirror
    from obol.stack.caches import Caches, Networks
    from obol.stack.home import Home, Identity
    from obol.stack.measuring import MeasuringEngine
    from obol.stack.nocluster import Warmth
    from obol.stack.plan import Gain
    from obol.stack.reporter import Reporter
    from obol.workloads.images import StackImage
    from obol.workloads.sources import Manifest


T = TypeVar("T")

LOOK_WITHIN = 8.0
"""Seconds that somebody who asks how the stack is waits for its cluster."""


@dataclass(frozen=True, slots=True)
class Served:
    """The caches of one `up`."""

    started: Started | None = None
    """None where no engine of ours serves."""
    wired: Wired = field(default_factory=Wired)
    measurement: Measurement | None = None

    @property
    def engine(self) -> EngineStatus | None:
        """The builtin engine, where nodes ask it."""
        return self.started.status if self.started is not None and self.wired.mirrors else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `up` is to bring up."""

    identity: Identity
    data: Path
    manifests: tuple[Manifest, ...]
    images: tuple[StackImage, ...]
    use_caches: bool = True
    prefetch: bool = True


@dataclass(frozen=True, slots=True)
class Raised:
    """The stack is up."""

    cluster: Up
    deployed: Deployed
    caches: Started | None
    mirrors: tuple[Mirror, ...]
    seconds: float
    gain: Gain | None
    """None where nothing could be measured."""
    notes: tuple[str, ...]
    held: Mapping[ImageReference, Held] = field(default_factory=dict)
    """How much of each image the builtin engine has in the end; nothing where it does not serve."""

    @property
    def cache_engine(self) -> Literal["builtin", "containers"] | None:
        """What serves the images; None where they are pulled directly."""
        if not self.mirrors:
            return None
        return "builtin" if self.caches is not None else "containers"


@dataclass(frozen=True, slots=True)
class Purged:
    """What `purge` has done."""

    removed: bool
    """The cluster was there, and is no more."""
    kept: tuple[Path, ...]
    """Manifests that the person changed."""
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Seen:
    """What is known of the cluster so far."""

    state: ClusterState | Literal["unknown"] = "unknown"
    details: Details = NOTHING_SEEN
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What `status` has found."""

    identity: Identity
    state: ClusterState | Literal["unknown"]
    last: LastUp | None
    containers: tuple[ContainerSeen, ...] = ()
    """Cache containers that are there."""
    details: Details = NOTHING_SEEN
    trouble: str = ""
    """Why the state, or the details, are not known."""


class Lifecycle:
    """One stack on one backend."""

    def __init__(
        self, backend: Backend, caches: Caches, engine: MeasuringEngine, warmth: Warmth, networks: Networks, home: Home
    ) -> None:
        self._backend = backend
        self._caches = caches
        self._engine = engine
        self._warmth = warmth
        self._networks = networks
        self._home = home

    async def check(self) -> None:
        """Look whether this machine has what the backend needs. Raises ObolError."""
        await self._backend.check()

    async def up(self, wanted: Wanted, reporter: Reporter, clock: Clock) -> Raised:
        """Bring everything up and wait until it answers. Raises ObolError; what runs by then is left running.

        An error has the notes that the person was told before it.
        """
        tell = Notes(reporter)
        began, moment = clock.monotonic(), clock.wall()
        await self._backend.check()
        await asyncio.to_thread(claim, wanted.data, self._home.config)
        served = await self._caches_up(wanted, tell)
        try:
            cluster, deployed = await self._cluster_up(wanted, served, tell, clock)
            gained = await self._gain(wanted, served, cluster)
        finally:
            if served.measurement is not None:
                await asyncio.shield(served.measurement.close(frozenset(), frozenset()))
        seconds, mirrors = clock.monotonic() - began, served.wired.mirrors
        if gained is not None:
            gained = await asyncio.to_thread(weigh, self._caches.store, self._backend.name, gained, seconds)
        held = await self._held(wanted, served.started)
        raised = Raised(cluster, deployed, served.started, mirrors, seconds, gained, tuple(tell.told), held)
        self._record(wanted, raised, await self._pulled(served.started, moment), clock)
        return raised

    async def _caches_up(self, wanted: Wanted, tell: Notes) -> Served:
        if not wanted.use_caches:
            return Served()
        started = measurement = None
        try:
            with tell.step(self._caches.label) as step:
                started = await self._caches.start()
                if started is not None:
                    measurement = Measurement(self._engine)
                    await measurement.open(_registries(started) if self._caches.private else ())
                wired = await self._reclaiming(lambda: self._caches.wire(started, step), step)
        except ObolError as problem:
            tell(f"Without a cache, images are pulled directly: {problem}.")
            return Served(started, measurement=measurement)
        return Served(started if wired.by_builtin else None, wired, measurement)

    async def _cluster_up(self, wanted: Wanted, served: Served, tell: Notes, clock: Clock) -> tuple[Up, Deployed]:
        """Bring the cluster and its workloads up; beside it, images are fetched ahead, and the caches looked after."""
        engine = served.engine
        keeper = Keeper(self._engine, engine, clock, tell) if engine is not None else None
        restored = served.measurement.reopen if served.measurement is not None else _nothing
        mirrors, own = served.wired.mirrors, served.measurement.mirrors if served.measurement is not None else ()
        wired = served.wired
        spec = ClusterSpec(wanted.identity.stack_id, self._home.config, wanted.data, mirrors, own, wired.loopback)
        beside: list[Coroutine[object, object, None]] = []
        if engine is not None and wanted.prefetch:
            references = expected([image.reference for image in wanted.images], self._home.last_up())
            stack_id = wanted.identity.stack_id
            beside.append(fetch_ahead(self._backend, stack_id, self._warmth, references, engine, tell))
        if keeper is not None:
            spec = replace(spec, died=lambda: keeper.look(restored))
            beside.append(keeper.keep(restored))
        tasks = [spawn(work, name="beside up") for work in beside]
        try:
            with tell.step("Starting the cluster") as step:
                cluster = await self._reclaiming(lambda: self._backend.up(spec, step), step)
            with tell.step("Deploying the workloads") as step:
                deployed = await self._deploy(wanted, spec, engine, step)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return cluster, deployed

    async def _deploy(self, wanted: Wanted, spec: ClusterSpec, engine: EngineStatus | None, step: Step) -> Deployed:
        """Deploy; where images are what is missing, and the caches know why, that is the reason that is told."""
        try:
            return await self._backend.apply(spec, wanted.manifests, step)
        except ObolError as problem:
            if engine is None:
                raise
            references = [image.reference for image in wanted.images]
            raise await explained(problem, references, self._warmth, self._engine) from problem

    async def _gain(self, wanted: Wanted, served: Served, cluster: Up) -> Gain | None:
        """Tell what our nodes were given; None where that cannot be told from what others were given."""
        if served.measurement is None or served.engine is None:
            return None
        peers: frozenset[str] = frozenset()
        if isinstance(self._backend, Addressed) and all(_by_address(mirror) for mirror in served.wired.mirrors):
            with contextlib.suppress(ObolError):
                peers = await self._backend.addresses(wanted.identity.stack_id)
        gained = await served.measurement.close(peers, served.wired.own_addresses)
        # A node that was made has pulled something: where none of it was seen, it was seen as somebody else's.
        unseen = gained is not None and cluster.created and not (gained.from_cache or gained.from_upstream)
        return None if unseen and peers else gained

    async def _reclaiming(self, work: Callable[[], Awaitable[T]], step: Step) -> T:
        """Do what may need a network; where Docker has no address pool left, free what was leaked and try once more."""
        try:
            return await work()
        except NoAddressPool:
            step("reclaiming networks that were left behind")
            freed = await self._networks.reclaim()
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

    async def _held(self, wanted: Wanted, started: Started | None) -> Mapping[ImageReference, Held]:
        """Look how much of each image the engine has; nothing where it cannot tell."""
        if started is not None:
            with contextlib.suppress(ObolError):
                return await self._warmth.held([image.reference for image in wanted.images])
        return {}

    def _record(self, wanted: Wanted, raised: Raised, served: Sequence[str], clock: Clock) -> None:
        images = tuple(dict.fromkeys([*(str(image.reference) for image in wanted.images), *served]))
        mirrors = {mirror.registry: mirror.endpoint for mirror in raised.mirrors}
        last = LastUp(clock.wall(), raised.seconds, images, mirrors=mirrors)
        if (gained := raised.gain) is not None:
            last = replace(last, gain=gained)
        with contextlib.suppress(OSError):
            self._home.record(last)

    async def down(self, identity: Identity, reporter: Reporter) -> bool:
        """Stop the cluster; its images, its data and the caches stay. False: it did not run. Raises ObolError."""
        ran = await self._state(identity) in {"running", "unknown"}
        await self._backend.authorise()
        with reporter.step("Stopping the cluster"):
            await self._backend.down(identity.stack_id)
        return ran

    async def purge(self, identity: Identity | None, reporter: Reporter, *, images: bool, caches: bool) -> Purged:
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
            notes += await self._networks.reclaim()
        if caches:
            with reporter.step("Removing the registry caches"):
                notes += await self._caches.remove()
        if problem is not None:
            raise problem
        return Purged(there, await asyncio.to_thread(self._home.remove), tuple(notes))

    async def _state(self, identity: Identity) -> ClusterState | Literal["unknown"]:
        """Look whether the cluster runs; what acts on it tells why that cannot be known."""
        with contextlib.suppress(ObolError, TimeoutError):
            async with asyncio.timeout(LOOK_WITHIN):
                return await self._backend.state(identity.stack_id)
        return "unknown"

    async def status(self, identity: Identity) -> Shown:
        """Look at the cluster and change nothing: in seconds, also where it does not answer. Never raises."""
        seen = _Seen()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(identity.stack_id, seen))
            named = group.create_task(self._named())
        return Shown(identity, seen.state, self._home.last_up(), named.result(), seen.details, seen.trouble)

    async def _look(self, stack_id: str, seen: _Seen) -> None:
        """Look at the cluster, for as long as somebody waits for it. What is known by then is known."""
        try:
            async with asyncio.timeout(LOOK_WITHIN):
                seen.state = await self._backend.state(stack_id)
                if seen.state != "absent" and isinstance(self._backend, Inspectable):
                    seen.details = await self._backend.details(stack_id)
        except ObolError as problem:
            seen.trouble = str(problem)
        except TimeoutError:
            seen.trouble = f"{self._backend.name} did not answer within {LOOK_WITHIN:g} seconds"

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


async def _nothing() -> None:
    return
