"""Bringing images into a cache, as any client of it would, and knowing afterwards that they are there.

Each image is pulled through the listener of its registry. A cache serves on when its disk is full, only it keeps
nothing then; so what came through is looked up in its inventory before it is called cached.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from obol.caches.reachable import addresses_of
from obol.client.platforms import parse_platform
from obol.client.ports import Limits, PulledImage, PullFailed, not_kept, not_served
from obol.client.pull import ImagePull
from obol.client.session import RegistryClient
from obol.errors import ObolError, UsageError
from obol.machine.clock import Clock, SystemClock
from obol.machine.polling import Polling
from obol.machine.tasks import members, spawn
from obol.oci.manifests import Descriptor, choose
from obol.oci.references import Digest

if TYPE_CHECKING:
    from obol.caches.builtin.process import BuiltinEngine
    from obol.client.platforms import Selection
    from obol.client.ports import BytesFrom, Progress
    from obol.oci.references import ImageReference
    from obol.registry.control.api import EngineStatus, HeldPlatform, Inventory

T = TypeVar("T")

Outcome = PulledImage | PullFailed
Held = Literal["complete", "incomplete", "missing"]
_BEST_FIRST: tuple[Held, ...] = ("complete", "incomplete", "missing")

DEFAULT_LIMITS = Limits()
SYSTEM = SystemClock()

RESOLVED_AT_ONCE = 6
"""Images whose manifests are read at the same time."""
_COMMITTED_WITHIN = 120.0
"""Seconds: a client has the last byte of a blob before the cache has synced it to its disk, which may be slow."""
_LOOK_EVERY = 0.1
_KNOWN_WITHIN = 10.0
"""Seconds for the manifests of all images, where only sizes are asked for."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a cache has of some images; sizes in bytes of blobs, those of each image by themselves."""

    held: Mapping[str, int]
    """By registry."""
    missing: int


@dataclass(slots=True)
class _Limits:
    """How many images at a time: manifests of all are read before most blobs, so that the whole size is known soon."""

    resolving: asyncio.Semaphore
    bringing: asyncio.Semaphore
    waiting: int = 0
    """Images whose manifests have to be there before blobs are asked for."""
    known: asyncio.Event = field(default_factory=asyncio.Event)
    begin: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.begin.set()

    def wait_for(self, count: int) -> None:
        """Let no blob be asked for until the manifests of so many images are there, or cannot be had."""
        self.waiting = count
        self.begin.clear()

    def is_known(self) -> None:
        """The manifests of one more image are there, or cannot be had."""
        self.waiting -= 1
        if self.waiting <= 0:
            self.known.set()


@dataclass(frozen=True, slots=True)
class _Unended:
    """A `Progress` that says of no image yet that it is there."""

    beyond: Progress

    def found(self, reference: ImageReference, size: int) -> None:
        self.beyond.found(reference, size)

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
        self.beyond.moved(reference, count, source)

    def done(self, image: PulledImage) -> None:
        """What came through may not have been kept."""

    def failed(self, problem: PullFailed) -> None:
        self.beyond.failed(problem)


@dataclass(frozen=True, slots=True)
class Warming:
    """Warms one running cache for the chosen platforms."""

    cache: BuiltinEngine
    platforms: Selection
    limits: Limits = DEFAULT_LIMITS
    clock: Clock = SYSTEM

    async def warm(
        self,
        references: Sequence[ImageReference],
        engine: EngineStatus,
        progress: Progress,
        before: Callable[[Holding], None] | None = None,
    ) -> tuple[Outcome, ...]:
        """Bring what is missing of these images; the outcomes are in their order, and one failure stops no other.

        `before` gets what is there, and what is missing, before any blob is asked for. Raises EngineNotRunning,
        EngineUnresponsive where the cache cannot say what it has kept.
        """
        turns = _Limits(asyncio.Semaphore(RESOLVED_AT_ONCE), asyncio.Semaphore(self.limits.images))
        async with AsyncExitStack() as stack:
            if before is not None:
                turns.wait_for(len(references))
                looking = spawn(self._look(references, turns, before), name="holding")
                stack.push_async_callback(asyncio.wait, [looking])
                stack.callback(looking.cancel)
            clients = await self._clients(stack, engine)

            async def one(reference: ImageReference) -> Outcome:
                client = clients.get(reference.registry)
                if client is None:
                    turns.is_known()
                    problem = not_served(reference, tuple(clients))
                    progress.failed(problem)
                    return problem
                return await self._kept(await self._pull(client, reference, _Unended(progress), turns), progress)

            return tuple(await _all(one(reference) for reference in references))

    async def held(self, references: Sequence[ImageReference]) -> Mapping[ImageReference, Held]:
        """How much of each image is there. Raises EngineNotRunning, EngineUnresponsive."""
        inventory = await asyncio.to_thread(self.cache.images)
        return {reference: self._held(inventory, reference) for reference in references}

    async def _look(
        self, references: Sequence[ImageReference], turns: _Limits, before: Callable[[Holding], None]
    ) -> None:
        """Tell what is there as soon as all manifests are, and let blobs be asked for."""
        try:
            # What is not known by then is not counted: a person should not wait long for an estimate.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KNOWN_WITHIN):
                    await turns.known.wait()
            with contextlib.suppress(ObolError):
                before(self._holding(await asyncio.to_thread(self.cache.images), references))
        finally:
            turns.begin.set()

    def _holding(self, inventory: Inventory, references: Sequence[ImageReference]) -> Holding:
        held: dict[str, int] = {}
        missing = 0
        for reference in references:
            platforms = self._platforms(inventory, reference)
            lacking = sum(one.missing_bytes for one in platforms)
            missing += lacking
            there = sum(one.size for one in platforms) - lacking
            held[reference.registry] = held.get(reference.registry, 0) + there
        return Holding({registry: count for registry, count in held.items() if count}, missing)

    async def _clients(self, stack: AsyncExitStack, engine: EngineStatus) -> dict[str, RegistryClient]:
        return {
            registry: await stack.enter_async_context(RegistryClient(base, registry, self.limits, self.clock))
            for registry, base in addresses_of(engine.listeners).items()
        }

    async def _pull(
        self, client: RegistryClient, reference: ImageReference, progress: Progress, turns: _Limits
    ) -> Outcome:
        image = ImagePull(client, reference, self.limits, progress)
        try:
            try:
                async with turns.resolving:
                    await image.resolve(self.platforms)
            finally:
                turns.is_known()
            await turns.begin.wait()
            async with turns.bringing:
                return await image.bring()
        except PullFailed as problem:
            return problem

    async def _kept(self, outcome: Outcome, progress: Progress) -> Outcome:
        """Tell that an image is there; one that came through, and was not kept, has failed."""
        if isinstance(outcome, PullFailed):
            return outcome
        if await self._is_kept(outcome.reference):
            progress.done(outcome)
            return outcome
        problem = not_kept(outcome.reference)
        progress.failed(problem)
        return problem

    async def _is_kept(self, reference: ImageReference) -> bool:
        """Whether a cache has all of an image, or has when its transfers have ended."""
        async for _ in Polling(self.clock, every=_LOOK_EVERY, within=_COMMITTED_WITHIN):
            running = await asyncio.to_thread(self.cache.status)
            if (await self.held([reference]))[reference] == "complete":
                return True
            if running is None or not running.status.fills:
                break
        return False

    def _held(self, inventory: Inventory, reference: ImageReference) -> Held:
        found: set[Held] = {"missing"}
        for image in inventory.images:
            if (image.registry, image.repository) != (reference.registry, reference.repository):
                continue
            if image.digest == reference.digest or (reference.digest is None and reference.tag in image.tags):
                found.add(_state(self._wanted(image.platforms)))
            elif reference.digest is not None:
                found.add(_state([one for one in image.platforms if one.digest == reference.digest]))
        return next(state for state in _BEST_FIRST if state in found)

    def _platforms(self, inventory: Inventory, reference: ImageReference) -> list[HeldPlatform]:
        """What is known of the platforms of an image that are warmed; the best of what bears its name."""
        found = [
            self._wanted(image.platforms)
            for image in inventory.images
            if (image.registry, image.repository) == (reference.registry, reference.repository)
            and (image.digest == reference.digest or (reference.digest is None and reference.tag in image.tags))
        ]
        return min(found, key=lambda platforms: sum(one.missing_bytes for one in platforms), default=[])

    def _wanted(self, platforms: Sequence[HeldPlatform]) -> list[HeldPlatform]:
        """Those platforms of an image that are warmed; of an image without an index, its only one."""
        if self.platforms is None or [one.platform for one in platforms] == [""]:
            return list(platforms)
        offers = {one.digest: one for one in platforms}
        children = [_as_child(one) for one in platforms]
        chosen = [choose(children, wanted) for wanted in self.platforms]
        return [offers[child.digest] for child in chosen if child is not None]


async def _all(pulls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all; what one raises ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in pulls]
    except ExceptionGroup as problems:
        raise members(problems)[0] from None
    return [task.result() for task in tasks]


def _state(platforms: Sequence[HeldPlatform]) -> Held:
    states = {one.state for one in platforms}
    if states <= {"absent"}:
        return "missing"
    return "complete" if states == {"complete"} else "incomplete"


def _as_child(held: HeldPlatform) -> Descriptor:
    try:
        platform = parse_platform(held.platform)
    except UsageError:
        platform = None
    return Descriptor("", Digest(held.digest), held.size, platform)
