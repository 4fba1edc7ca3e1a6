"""A thousand pulls that are broken off, and what they leave behind.

The engine runs in this process, on a loop in debug mode, so that its tasks can be counted and complaints be heard.
"""

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from obol.oci.references import Digest
from obol.registry.control.api import Listener
from obol.registry.settings import EngineSettings, UpstreamSettings
from obol.wiring.engine import RunningEngine, running_engine
from tests.fakes.content import FakeImage, make_image
from tests.fakes.http import request, talk
from tests.fakes.registry import FakeRegistry, SlowLink
from tests.soak.figures import MIB, Figure, exactly, none_of, told
from tests.soak.scenario import Needs, Scenario

PULLS = 1000
AT_ONCE = 25
IMAGES = [make_image(2_000, MIB, 20 * MIB, seed=900 + seed) for seed in range(12)]
SETTLES_WITHIN = 60.0
_SLOW_CALLBACK = 1e9


@dataclass(frozen=True, slots=True)
class Left:
    """What is alive at one moment, while nobody asks for anything."""

    files: Counter[str]
    tasks: Counter[str]


def alive() -> Left:
    """Descriptors by what they are, tasks by their name."""
    gc.collect()
    files: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # the listing itself
            continue
        files[target.partition(":")[0] if ":" in target else target] += 1
    return Left(files, Counter(task.get_name() for task in asyncio.all_tasks()))


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what asyncio, the libraries and the engine itself complain of; the loop is in debug mode meanwhile."""
    loop = asyncio.get_running_loop()
    complaints = _Complaints()
    logging.getLogger().addHandler(complaints)
    slow, loop.slow_callback_duration = loop.slow_callback_duration, _SLOW_CALLBACK
    loop.set_debug(True)
    try:
        with structlog.testing.capture_logs() as said:
            yield complaints.heard
        complaints.heard += [line["event"] for line in said if line["event"].endswith(" failed")]
    finally:
        loop.set_debug(False)
        loop.slow_callback_duration = slow
        logging.getLogger().removeHandler(complaints)


async def settled(running: RunningEngine, upstream: FakeRegistry, tasks: int | None = None) -> Left:
    """What is alive when all transfers are over and the upstream's connections are closed."""
    async with asyncio.timeout(SETTLES_WITHIN):
        while running.engine.transfers:  # noqa: ASYNC110 - the engine tells nobody when a transfer ends
            await asyncio.sleep(0.05)
        await upstream.down()
        for _ in range(50):
            await asyncio.sleep(0.1)
            if tasks is None or len(asyncio.all_tasks()) <= tasks:
                break
    left = alive()
    await upstream.up()
    return left


async def cancelled_pull(port: int, image: FakeImage, tag: str, chance: random.Random) -> int:
    """Begin a pull and break it off somewhere: before the head, in a body, or by a task's cancellation; bytes read."""
    await request(port, "GET", f"/v2/library/app/manifests/{tag}", read_body=chance.random() < 0.5)
    count = 0
    digest = chance.choice([*image.layers, image.layers[-1]])
    async with talk(port, "GET", f"/v2/library/app/blobs/{digest}") as conversation:
        if chance.random() < 0.2:
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            return 0
        if await conversation.head() != 200:
            return 0
        enough = chance.randrange(1, len(image.blobs[digest]))
        while count < enough and (data := await conversation.read(64 * 1024)):
            count += len(data)
    return count


async def storm(port: int, pulls: int, chance: random.Random) -> int:
    """So many pulls, some of them at once; one in five is cancelled as a task. Bytes read by the others."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> int:
        which = number * len(IMAGES) // pulls
        async with turn:
            limit = chance.uniform(0.0, 0.2) if chance.random() < 0.2 else SETTLES_WITHIN
            try:
                async with asyncio.timeout(limit):
                    return await cancelled_pull(port, IMAGES[which], f"t{which}", chance)
            except TimeoutError:
                return 0

    return sum(await asyncio.gather(*(one(number) for number in range(pulls))))


async def wrong_or_missing(port: int) -> int:
    """Pull everything to its end; how many blobs did not come right."""
    count = 0
    for number, image in enumerate(IMAGES):
        await request(port, "GET", f"/v2/library/app/manifests/t{number}")
        for digest in [*image.manifests]:
            await request(port, "GET", f"/v2/library/app/manifests/{digest}")
        for digest in image.layers:
            reply = await request(port, "GET", f"/v2/library/app/blobs/{digest}")
            count += not (reply.status == 200 and reply.complete and Digest.of(reply.body) == digest)
    return count


async def run(scratch: Path, *, pulls: int = PULLS) -> Sequence[Figure]:
    """Count, storm, count again."""
    chance = random.Random(1000)
    async with FakeRegistry(SlowLink(1200e6, 300e6, 0.002)) as upstream:
        first = make_image(1000, 2 * MIB, seed=899)
        upstream.add("library/app", "first", first)
        for number, image in enumerate(IMAGES):
            upstream.add("library/app", f"t{number}", image)
        settings = EngineSettings(
            scratch / "store", (UpstreamSettings("docker.io", upstream.url),), (Listener("docker.io", "127.0.0.1", 0),)
        )
        outside = alive()
        with listening() as complaints:
            async with running_engine(settings) as running:
                port = running.listeners.list()[0].port
                for digest in (*first.manifests, *first.layers):
                    kind = "blobs" if digest in first.blobs else "manifests"
                    await request(port, "GET", f"/v2/library/app/{kind}/{digest}")
                before = await settled(running, upstream)
                read = await storm(port, pulls, chance)
                after = await settled(running, upstream, before.tasks.total())
                fetched = upstream.body_bytes("/blobs/")
                wrong = await wrong_or_missing(port)
        gone = alive()
    return [
        told("pulls that were broken off", pulls),
        told("read before", f"{read / MIB:.0f} MiB"),
        told("sent by the upstream", f"{fetched / MIB:.0f} MiB"),
        told("open files, tasks before", f"{before.files.total()}, {before.tasks.total()}"),
        exactly("open files after", after.files.total(), before.files.total()),
        exactly("tasks after", after.tasks.total(), before.tasks.total()),
        told("what is more than before", _more(after, before) or "nothing"),
        none_of("open files left when the engine has stopped", (gone.files - outside.files).total()),
        none_of("tasks left when the engine has stopped", (gone.tasks - outside.tasks).total()),
        none_of("complaints of asyncio in debug mode", len(complaints)),
        none_of("blobs that could not be pulled right afterwards", wrong),
    ]


def _more(after: Left, before: Left) -> str:
    more = (after.files - before.files) + (after.tasks - before.tasks)
    return ", ".join(f"{count} of {name}" for name, count in more.items())


CANCELS = Scenario(
    name="cancels",
    title=f"{PULLS} pulls that are broken off",
    method=(
        f"{PULLS} pulls, {AT_ONCE} at a time, of {len(IMAGES)} images that are cold at first, each broken off at a "
        "random byte, before the head, or by cancelling the client. Descriptors and tasks are counted while "
        "nothing runs, before and after, with the engine in the same process and asyncio in debug mode."
    ),
    run=run,
    needs=Needs(disk=2 << 30, memory=2 << 30),
    guarantees=("Clients that vanish leave no open file, no socket and no task behind.",),
)
