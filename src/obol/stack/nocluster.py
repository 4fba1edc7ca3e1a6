"""Bringing up what there can be without a cluster: caches that hold every image, for a later one."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from obol.client.ports import PulledImage, PullFailed
from obol.errors import EngineUnresponsive
from obol.stack.plan import time_saved
from obol.stack.space import too_little_room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from obol.caches.ports import CacheEngine, Running, Started
    from obol.caches.warming import Held, Holding
    from obol.client.ports import Progress
    from obol.machine.clock import Clock
    from obol.oci.references import ImageReference
    from obol.registry.control.api import EngineStatus
    from obol.stack.plan import Choice
    from obol.workloads.images import StackImage


def _unheard(text: str) -> None:
    """Tell nobody."""


class Warmth(Protocol):
    """Brings images into the caches, and knows which are there."""

    async def warm(
        self,
        references: Sequence[ImageReference],
        engine: EngineStatus,
        progress: Progress,
        before: Callable[[Holding], None] | None = None,
    ) -> Sequence[PulledImage | PullFailed]:
        """Fetch what is missing of these images; one that fails stops no other. The answers are in their order.

        `before` is told what is there before any blob is asked for, where that can be told.
        """
        ...

    async def held(self, references: Sequence[ImageReference]) -> Mapping[ImageReference, Held]:
        """Tell how much of each is there, for this machine's platform. Raises EngineNotRunning, EngineUnresponsive."""
        ...


@dataclass(frozen=True, slots=True)
class WarmedImage:
    """What became of one image."""

    image: StackImage
    outcome: PulledImage | PullFailed


@dataclass(frozen=True, slots=True)
class Brought:
    """What `up` has done."""

    choice: Choice
    caches: Started
    images: tuple[WarmedImage, ...]
    seconds: float
    saved: float | None
    """About how many seconds the caches saved; None where that cannot be told."""
    held: Mapping[str, int] = field(default_factory=dict)
    """By registry: bytes of these images that were there before."""
    short: str = ""
    """A sentence where the disk of the caches has no room for what was missing."""

    @property
    def complete(self) -> bool:
        """Whether every image is in the caches."""
        return not any(isinstance(image.outcome, PullFailed) for image in self.images)


@dataclass(frozen=True, slots=True)
class Seen:
    """What `status` has found."""

    caches: Running | None
    held: tuple[tuple[StackImage, Held | None], ...]
    """None where the caches do not run, so that nobody can tell."""


class CachesOnly:
    """A stack without a cluster: the caches run, and hold what a cluster would need."""

    def __init__(self, caches: CacheEngine, warmth: Warmth, clock: Clock) -> None:
        self._caches = caches
        self._warmth = warmth
        self._clock = clock

    async def up(
        self,
        choice: Choice,
        images: Sequence[StackImage],
        progress: Progress,
        warn: Callable[[str], None] = _unheard,
    ) -> Brought:
        """Start the caches, if they do not run, and fetch every image into them.

        `warn` takes sentences that should be known before it ends. Raises what `CacheEngine.start` raises. Images that
        cannot be had are part of the result.
        """
        began = self._clock.monotonic()
        started = await asyncio.to_thread(self._caches.start)
        references = [image.reference for image in images]
        held: dict[str, int] = {}
        short = ""

        def before(found: Holding) -> None:
            nonlocal short
            held.update(found.held)
            if short := too_little_room(found, started.status):
                warn(short)

        outcomes = await self._warmth.warm(references, started.status, progress, before)
        return Brought(
            choice,
            started,
            tuple(WarmedImage(image, outcome) for image, outcome in zip(images, outcomes, strict=True)),
            self._clock.monotonic() - began,
            time_saved(held, await self._throughput()),
            held,
            short,
        )

    async def status(self, images: Sequence[StackImage]) -> Seen:
        """Look at everything and change nothing. Raises EngineUnresponsive."""
        running = await asyncio.to_thread(self._caches.status)
        held: Mapping[ImageReference, Held] = {}
        if running is not None:
            held = await self._warmth.held([image.reference for image in images])
        return Seen(running, tuple((image, held.get(image.reference)) for image in images))

    async def _throughput(self) -> dict[str, float]:
        """Ask what each upstream was measured at; an engine that does not say so now spoils no result."""
        running = None
        with contextlib.suppress(EngineUnresponsive):
            running = await asyncio.to_thread(self._caches.status)
        upstreams = running.status.upstreams if running else ()
        return {upstream.registry: upstream.throughput for upstream in upstreams if upstream.throughput}
