"""A new node: it has no image, pulls the whole set as a container runtime does, and verifies every byte.

Nothing is unpacked and nothing is kept: what is measured is how long the images take to get there.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.client.ports import Limits, Nowhere, Origin, PulledImage, Silence
from obol.client.pull import pull
from obol.client.session import RegistryClient
from obol.demo.images import ARCHITECTURE, OS
from obol.machine.clock import Clock, SystemClock
from obol.machine.tasks import members
from obol.oci.manifests import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from obol.oci.references import ImageReference

PLATFORM = (Platform(OS, ARCHITECTURE),)
LIMITS = Limits(images=3, layers=3)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A whole set that has arrived."""

    seconds: float
    images: tuple[PulledImage, ...]

    @property
    def bytes_from_cache(self) -> int:
        """Bytes that the cache had."""
        return sum(image.bytes_from_cache for image in self.images)


class _Counting(Silence):
    def __init__(self, moved: Callable[[int], None]) -> None:
        self._moved = moved

    def moved(self, reference: ImageReference, count: int, source: Origin) -> None:
        """Pass on the count."""
        del reference, source
        self._moved(count)


async def pull_set(
    references: Sequence[ImageReference],
    registries: Mapping[str, str],
    moved: Callable[[int], None],
    clock: Clock | None = None,
) -> Pulled:
    """Pull images, in their order and three at a time, from `registries`: base URLs by the registry's name.

    `moved` is told of bytes as they come. Raises PullFailed for the first image that fails; the others are given up.
    """
    clock = clock or SystemClock()
    progress = _Counting(moved)
    slots = asyncio.Semaphore(LIMITS.images)
    async with AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(RegistryClient(url)) for name, url in registries.items()}

        async def one(reference: ImageReference) -> PulledImage:
            async with slots:
                client = clients[reference.registry]
                return await pull(client, reference, PLATFORM, LIMITS, progress, Nowhere())

        since = clock.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                pulls = [group.create_task(one(reference)) for reference in references]
        except ExceptionGroup as failed:
            raise members(failed)[0] from None
        return Pulled(clock.monotonic() - since, tuple(task.result() for task in pulls))
