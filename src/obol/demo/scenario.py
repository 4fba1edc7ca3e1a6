"""The demonstration: four pulls of the same images by new nodes, each measured.

Direct from the origin; cold, through a cache that has nothing yet; warm; and warm with the origin stopped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from obol.demo.base import REAL_STACK, DemoSettings, MeasuredPull, PhaseName, Result, Watcher, shortcomings
from obol.demo.cacheprocess import plan_cache, running_cache
from obol.demo.images import STACK, Shape, scaled
from obol.demo.node import pull_set
from obol.demo.origin import HOST, Order
from obol.demo.originprocess import OriginProcess, origin_process
from obol.errors import ObolError
from obol.oci.references import ImageReference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from obol.caches.builtin.plan import BuiltinPlan
    from obol.caches.builtin.process import BuiltinEngine

FOLDER_PREFIX = "obol-demo-"
_COPIES = 2
"""The images are on the disk twice: with the origin, and in the cache."""
_SPARE = 50_000_000
_LONGEST_PLACE = 60
"""Bytes of the directory for temporary files: the path of the engine's control socket may have 100."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """What stays the same from phase to phase."""

    shapes: tuple[Shape, ...]
    references: tuple[ImageReference, ...]
    origin: OriginProcess
    watcher: Watcher

    @property
    def size(self) -> int:
        return sum(shape.size for shape in self.shapes)

    async def play(
        self, name: PhaseName, registries: Mapping[str, str], direct: MeasuredPull | None = None
    ) -> MeasuredPull:
        """Pull everything once."""
        sent_before = await self.origin.sent()
        self.watcher.began(name, self.size)
        pulled = await pull_set(self.references, registries, self.watcher.moved)
        sent = await self.origin.sent() - sent_before
        faster = direct.seconds / pulled.seconds if direct else 1.0
        phase = MeasuredPull(name, pulled.seconds, sent, pulled.bytes_from_cache, faster)
        self.watcher.ended(phase)
        return phase


async def demonstrate(
    settings: DemoSettings, cache_for: Callable[[BuiltinPlan], BuiltinEngine], watcher: Watcher
) -> Result:
    """Play all four phases in a temporary directory and two processes, which are gone when this returns or raises.

    `cache_for` makes an engine out of its plan. Raises ObolError: no room on the disk, a process that failed, an image
    that could not be pulled.
    """
    shapes = scaled(STACK, settings.size)
    references = tuple(ImageReference.parse(shape.reference) for shape in shapes)
    registries = tuple(dict.fromkeys(reference.registry for reference in references))
    with _folder(_COPIES * settings.size + _SPARE) as folder:
        async with AsyncExitStack() as stack:
            origin = await stack.enter_async_context(origin_process())
            stage = _Stage(shapes, references, origin, watcher)
            await _make(stage, folder, settings)
            upstream = f"http://{HOST}:{origin.port}"
            direct = await stage.play("direct", dict.fromkeys(registries, upstream))
            engine = cache_for(plan_cache(folder, registries, upstream, os.environ))
            cached = await stack.enter_async_context(running_cache(engine))
            cold = await stage.play("cold", cached, direct)
            warm = await stage.play("warm", cached, direct)
            await origin.stop()
            offline = await stage.play("offline", cached, direct)
    return _result(settings, stage, (direct, cold, warm, offline))


async def _make(stage: _Stage, folder: Path, settings: DemoSettings) -> None:
    stage.watcher.began("make", stage.size)
    images = folder / "images"
    images.mkdir()
    link = settings.link
    order = Order(str(images), settings.size, link.total_bps, link.connection_bps, link.latency)
    told = 0

    def made(size: int) -> None:
        nonlocal told
        stage.watcher.moved(size - told)
        told = size

    await stage.origin.begin(order, made)


def _result(settings: DemoSettings, stage: _Stage, phases: tuple[MeasuredPull, ...]) -> Result:
    return Result(
        size=stage.size,
        real_size=REAL_STACK,
        images=len(stage.shapes),
        layers=sum(len(shape.layers) for shape in stage.shapes),
        link=settings.link,
        phases=phases,
        missed=shortcomings(*(phase.seconds for phase in phases)),
    )


@contextmanager
def _folder(room: int) -> Iterator[Path]:
    """Give a new directory with at least `room` bytes to spare; it is removed at the end."""
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) > _LONGEST_PLACE:
        raise ObolError(
            "the demo cannot use the directory for temporary files",
            why=f"the path {place} is too long for the socket of a cache engine below it",
            hint="name another one: `TMPDIR=/tmp obol demo`",
        )
    free = shutil.disk_usage(place).free
    if free < room:
        raise ObolError(
            f"there is no room for the demo in {place}",
            why=f"it needs {room / 1e6:,.0f} MB for a moment, and {free / 1e6:,.0f} MB are free",
            hint="name another directory by TMPDIR, or fewer bytes: `obol demo --size 50M`",
        )
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
