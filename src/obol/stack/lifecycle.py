"""What `up`, `down`, `purge` and `status` do where there is a cluster, against ports.

Everything is safe to do again, also after an interruption at any point: each step looks at what is there first. The
caches are never a reason to fail: what cannot be had of them is said, and the images are pulled directly.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from obol.backends.base import NOTHING_SEEN, ClusterSpec, Details, Inspectable
from obol.client.base import Silence
from obol.errors import EngineNotRunning, EngineUnresponsive, ObolError
from obol.machine.dockererrors import NoAddressPool
from obol.machine.tasks import spawn
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.stack.data import claim
from obol.stack.plan import Gain, gain, served_since
from obol.stack.state import LastUp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from obol.backends.base import Backend, ClusterState, Deployed, Up, Watch
    from obol.caches.base import CacheEngine, EngineStatus, Started
    from obol.caches.containers import ContainerSeen
    from obol.caches.warming import Held
    from obol.machine.clock import Clock
    from obol.rendering.registries import Mirror
    from obol.stack.nocluster import Warmth
    from obol.stack.plan import StackImage
    from obol.stack.state import Home, Identity
    from obol.workloads.sources import Manifest


T = TypeVar("T")

LOOK_WITHIN = 8.0
"""Seconds that somebody who asks how the stack is waits for its cluster."""


class Steps(Protocol):
    """Shows what goes on, step by step."""

    def step(self, label: str) -> AbstractContextManager[Watch]:
        """Begin a step; what it yields takes lines about it. An exception ends it as failed."""
        ...


@dataclass(frozen=True, slots=True)
class Wired:
    """How nodes reach the caches."""

    mirrors: tuple[Mirror, ...]
    notes: tuple[str, ...] = ()
    by_builtin: bool = True
    """False: containers serve, and the builtin engine is not running any more."""


class Caches(Protocol):
    """The caches of a stack with a cluster, whichever engine they are of."""

    @property
    def label(self) -> str:
        """What starting them is called."""
        ...

    async def start(self) -> Started | None:
        """Start what is not running; None where this engine has no control socket. Raises ObolError."""
        ...

    async def wire(self, started: Started | None) -> Wired:
        """Make the caches reachable for nodes, and say where. Raises ObolError."""
        ...

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """Look at the cache containers that are there. Never raises."""
        ...

    async def remove(self) -> tuple[str, ...]:
        """Stop the caches and remove all that they hold; notes for the person. Raises ObolError."""
        ...


class Networks(Protocol):
    """Networks that were leaked."""

    async def reclaim(self) -> tuple[str, ...]:
        """Free those that nobody needs; notes for the person. Never raises."""
        ...


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
        self, backend: Backend, caches: Caches, engine: CacheEngine, warmth: Warmth, networks: Networks, home: Home
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

    async def up(self, wanted: Wanted, steps: Steps, clock: Clock) -> Raised:
        """Bring everything up and wait until it answers. Raises ObolError; what runs by then is left running."""
        began, moment = clock.monotonic(), clock.wall()
        await self._backend.check()
        await asyncio.to_thread(claim, wanted.data, self._home.config)
        notes: list[str] = []
        started, mirrors = await self._caches_up(wanted, steps, notes)
        before = started.status if started is not None else None
        spec = ClusterSpec(wanted.identity.stack_id, self._home.config, wanted.data, mirrors)
        fetching = self._prefetch(wanted, before)
        try:
            with steps.step("Starting the cluster") as watch:
                cluster = await self._reclaiming(lambda: self._backend.up(spec, watch), watch, notes)
            with steps.step("Deploying the workloads") as watch:
                deployed = await self._backend.apply(spec, wanted.manifests, watch)
        finally:
            if fetching is not None:
                fetching.cancel()
                await asyncio.gather(fetching, return_exceptions=True)
        gained = gain(before, await self._status()) if before is not None else None
        seconds = clock.monotonic() - began
        notes += [*cluster.notes, *deployed.notes]
        held = await self._held(wanted, started)
        raised = Raised(cluster, deployed, started, mirrors, seconds, gained, tuple(notes), held)
        self._record(wanted, raised, await self._served(started, moment), clock)
        return raised

    async def _caches_up(
        self, wanted: Wanted, steps: Steps, notes: list[str]
    ) -> tuple[Started | None, tuple[Mirror, ...]]:
        if not wanted.use_caches:
            return None, ()
        started = None
        try:
            with steps.step(self._caches.label) as watch:
                started = await self._caches.start()
                wired = await self._reclaiming(lambda: self._caches.wire(started), watch, notes)
        except ObolError as problem:
            notes.append(f"Without a cache, images are pulled directly: {problem}.")
            return started, ()
        notes += wired.notes
        return started if wired.by_builtin else None, wired.mirrors

    def _prefetch(self, wanted: Wanted, engine: EngineStatus | None) -> asyncio.Task[object] | None:
        """Fetch while the cluster boots what its nodes will ask for. Nobody waits for it; failures show there."""
        if engine is None or not wanted.prefetch:
            return None
        references = [image.reference for image in wanted.images]
        last = self._home.last_up()
        with contextlib.suppress(OciError):
            references += [ImageReference.parse(name) for name in last.images] if last else []
        return spawn(self._warm(list(dict.fromkeys(references)), engine), name="prefetch")

    async def _warm(self, references: Sequence[ImageReference], engine: EngineStatus) -> None:
        with contextlib.suppress(ObolError):
            await self._warmth.warm(references, engine, Silence())

    async def _reclaiming(self, work: Callable[[], Awaitable[T]], watch: Watch, notes: list[str]) -> T:
        """Do what may need a network; where Docker has no address pool left, free what was leaked and try once more."""
        try:
            return await work()
        except NoAddressPool:
            watch("reclaiming networks that were left behind")
            freed = await self._networks.reclaim()
            if not freed:
                raise
            notes += freed
            return await work()

    async def _status(self) -> EngineStatus | None:
        with contextlib.suppress(EngineNotRunning, EngineUnresponsive):
            running = await asyncio.to_thread(self._engine.status)
            return running.status if running is not None else None
        return None

    async def _served(self, started: Started | None, moment: float) -> tuple[str, ...]:
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
            last = replace(
                last,
                bytes_from_cache=gained.from_cache,
                bytes_from_upstream=gained.from_upstream,
                saved_seconds=gained.saved,
            )
        with contextlib.suppress(OSError):
            self._home.record(last)

    async def down(self, identity: Identity, steps: Steps) -> bool:
        """Stop the cluster; its images, its data and the caches stay. False: it did not run. Raises ObolError."""
        ran = await self._state(identity) in {"running", "unknown"}
        await self._backend.authorise()
        with steps.step("Stopping the cluster"):
            await self._backend.down(identity.stack_id)
        return ran

    async def purge(self, identity: Identity | None, steps: Steps, *, images: bool, caches: bool) -> Purged:
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
                with steps.step("Removing the cluster"):
                    await self._backend.purge(identity.stack_id, images=images)
            except ObolError as failed:
                problem = failed
        with steps.step("Reclaiming networks"):
            notes += await self._networks.reclaim()
        if caches:
            with steps.step("Removing the registry caches"):
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
