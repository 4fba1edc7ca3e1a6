"""The demonstration: four pulls of the same images by new nodes, each measured.

Direct from the origin; cold, through a cache that has nothing yet; warm; and warm with the origin stopped. A node pulls
the whole set as a container runtime does, and verifies every byte. Nothing is unpacked and nothing is kept: what is
measured is how long the images take to get there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from obol.client.ports import BytesFrom, Limits, Nowhere, PulledImage, Silence
from obol.client.pull import pull
from obol.client.session import RegistryClient
from obol.demo.base import REAL_STACK, DemoSettings, MeasuredPull, PhaseName, Result, Watcher, shortcomings
from obol.demo.images import ARCHITECTURE, OS, STACK, Shape, scaled
from obol.demo.origin import HOST, Order
from obol.demo.processes import OriginProcess, origin_process, plan_cache, running_cache
from obol.errors import Interrupted, ObolError
from obol.machine.clock import Clock, SystemClock
from obol.machine.tasks import members
from obol.oci.manifests import Platform
from obol.oci.references import ImageReference

if TYPE_CHECKING:
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.caches.builtin.process import BuiltinEngine

FOLDER_PREFIX = "obol-demo-"
_COPIES = 2
"""The images are on the disk twice: with the origin, and in the cache."""
_SPARE = 50_000_000
_LONGEST_PLACE = 60
"""Bytes of the directory for temporary files: the path of the engine's control socket may have 100."""
PLATFORM = (Platform(OS, ARCHITECTURE),)
LIMITS = Limits(images=3, layers=3)
T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
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


def run_until_interrupted(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work`, which must tidy up, on a new loop; raise Interrupted where a signal ended it before its time.

    An interrupt cancels the work once and then waits for it: one that comes while it tidies up, as an impatient person
    sends it, changes nothing. `asyncio.run` alone would let the second one through, and does not know SIGTERM.
    """
    return asyncio.run(_watched(work))


async def _watched(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = asyncio.get_running_loop()
    ours = asyncio.current_task()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if ours is not None and not interrupted:
            interrupted = True
            ours.cancel()

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for one, means it
            loop.add_signal_handler(number, interrupt)
    try:
        return await work()
    except BaseException as problem:
        if not interrupted:
            raise
        raise Interrupted("interrupted", why="nothing is left behind") from problem
