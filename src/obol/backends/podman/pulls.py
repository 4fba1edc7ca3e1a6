"""Pulling the images of pods by podman, several at a time, and telling what goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.errors import ObolError

if TYPE_CHECKING:
    from obol.backends.ports import Watch
    from obol.machine.podman import Podman

PULLS = 4
"""Images that are fetched at the same time."""


async def pull_missing(
    podman: Podman, images: Iterable[str], registries: Path | None, watch: Watch, died: Callable[[], Awaitable[bool]]
) -> None:
    """Fetch those that are missing, some at a time. Raises the first failure when all have ended.

    A pull that was cut because the caches died, which `died` tells, is begun once more. As long as a pull is open, the
    line that `watch` had last is about an open one.
    """
    pulls = _Pulls(podman, registries, watch, died)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pulls.fetch(image)) for image in images]
    if problem := next(filter(None, (task.result() for task in tasks)), None):
        look = "look at `obol cache status`, then run" if registries is not None else "run"
        hint = f"{look} `obol stack up` again: it goes on from here"
        raise ObolError(problem.what, why=problem.why, hint=problem.hint or hint)


@dataclass(slots=True)
class _Pulls:
    podman: Podman
    registries: Path | None
    watch: Watch
    died: Callable[[], Awaitable[bool]]
    under_way: list[str] = field(default_factory=list)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PULLS))

    async def fetch(self, image: str) -> ObolError | None:
        """Fetch one image, where it is missing; gives what went wrong."""
        async with self.slots:
            if await self.podman.has_image(image):
                return None
            self.watch(_pulling(image))
            self.under_way.append(image)
            try:
                problem = await self._pull(image)
            finally:
                self.under_way.remove(image)
            if problem is None:
                self.watch(f"pulled {image}")
            if self.under_way:
                self.watch(_pulling(self.under_way[0]))
            return problem

    async def _pull(self, image: str) -> ObolError | None:
        try:
            await self.podman.pull(image, self.registries)
        except ObolError as problem:
            if not await self.died():
                return problem
            self.watch(f"{_pulling(image)} again")
            try:
                await self.podman.pull(image, self.registries)
            except ObolError as again:
                return again
        return None


def _pulling(image: str) -> str:
    """What is said of an open pull: podman also unpacks, long after the last byte has come, and tells nothing."""
    return f"pulling and unpacking {image}"
