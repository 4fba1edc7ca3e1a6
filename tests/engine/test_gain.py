"""What each of two `up` claims that run at once, beside a foreign pull: its own bytes, as its clients received them.

The engine is a process of its own, and is asked by its control socket, as `obol stack up` does.
"""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import BuiltinEngine
from obol.registry.control.api import EngineStatus
from obol.stack.measuring import Measurement
from tests.engine.processes import EngineProcess
from tests.fakes.content import FakeImage, make_image
from tests.fakes.http import request
from tests.fakes.registry import FakeRegistry, SlowLink
from tests.limits import eventually

HELD = make_image(40_000, 3_000_000, seed=61)
FRESH = make_image(50_000, 2_000_000, seed=62)
NOBODY: frozenset[str] = frozenset()


async def pull(port: int, name: str, image: FakeImage) -> int:
    """Pull an image as a node does, HEAD first; the bytes of content that were received."""
    repository = f"/v2/library/{name}"
    assert (await request(port, "HEAD", f"{repository}/manifests/1")).status == 200
    targets = ["manifests/1", *(f"manifests/{child}" for child in image.children)]
    received = 0
    for target in targets:
        received += len((await request(port, "GET", f"{repository}/{target}")).body)
    replies = await asyncio.gather(*(request(port, "GET", f"{repository}/blobs/{digest}") for digest in image.blobs))
    assert {reply.status for reply in replies} == {200}
    return received + sum(len(reply.body) for reply in replies)


def status_of(engine: BuiltinEngine) -> EngineStatus:
    """What it says of itself."""
    running = engine.status()
    assert running is not None
    return running.status


async def committed(engine: BuiltinEngine) -> None:
    """Wait until all that clients have received is stored: what is being synced is not held yet."""
    await eventually(lambda: not status_of(engine).fills)


def port_of(measurement: Measurement) -> int:
    """The port that only this `up` knows."""
    (mirror,) = measurement.mirrors
    return urlsplit(mirror.endpoint).port or 0


async def test_two_ups_beside_a_foreign_pull(tmp_path: Path) -> None:
    """Each claims what its own clients were given, to the byte, and of that only what was held before it began."""
    async with FakeRegistry(SlowLink(80e6, 40e6, 0.005)) as upstream:
        upstream.add("library/held", "1", HELD)
        upstream.add("library/fresh", "1", FRESH)
        engine = EngineProcess(tmp_path / "store", {"docker.io": upstream.url})
        async with engine.running() as port:
            caches = BuiltinEngine(BuiltinPlan(tmp_path / "store"))
            await pull(port, "held", HELD)
            await committed(caches)
            first, second = Measurement(caches), Measurement(caches)
            await first.open(["docker.io"])
            await second.open(["docker.io"])
            own, other = port_of(first), port_of(second)
            assert len({own, other, port}) == 3
            assert [one.port for one in status_of(caches).listeners] == [port]

            held, fresh, others, *_ = await asyncio.gather(
                pull(own, "held", HELD),
                pull(own, "fresh", FRESH),
                pull(other, "held", HELD),
                pull(port, "held", HELD),  # somebody else
                pull(port, "fresh", FRESH),  # a prefetch
            )
            again = await pull(own, "fresh", FRESH)
            mine = await first.close(NOBODY, NOBODY)
            theirs = await second.close(NOBODY, NOBODY)

    assert mine is not None
    assert theirs is not None
    assert again == fresh
    assert (mine.from_cache, mine.from_upstream) == (held, fresh)
    assert (theirs.from_cache, theirs.from_upstream) == (others, 0)
    assert mine.saved is not None
    assert mine.saved < 5


async def test_a_first_up_claims_nothing(tmp_path: Path) -> None:
    """Not even what the prefetch had brought before its nodes asked; the next one claims it, and the time it took."""
    async with FakeRegistry() as upstream:
        upstream.add("library/fresh", "1", FRESH)
        engine = EngineProcess(tmp_path / "store", {"docker.io": upstream.url})
        async with engine.running() as port:
            caches = BuiltinEngine(BuiltinPlan(tmp_path / "store"))
            gains = []
            for _ in range(2):
                measurement = Measurement(caches)
                await measurement.open(["docker.io"])
                await pull(port, "fresh", FRESH)
                size = await pull(port_of(measurement), "fresh", FRESH)
                gains.append(await measurement.close(NOBODY, NOBODY))
                await committed(caches)

    first, second = gains
    assert first is not None
    assert second is not None
    assert (first.from_cache, first.from_upstream, first.saved) == (0, size, None)
    assert (second.from_cache, second.from_upstream) == (size, 0)
    assert second.saved is not None
