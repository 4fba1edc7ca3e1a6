"""Kill -9 in the middle of pulls: what is served after a restart verifies, and nothing half-done is visible.

The engine runs as a process of its own, started as a user starts it; the upstream is a fake in the test's loop, slowed
so that a kill hits a transfer.
"""

import asyncio
import random
from functools import partial
from pathlib import Path

import pytest

from obol.oci.references import Digest
from tests.engine.processes import EngineProcess
from tests.fakes.content import make_image
from tests.fakes.http import Reply, request
from tests.fakes.registry import FakeRegistry, SlowLink
from tests.limits import eventually, scaled

MIB = 1024 * 1024
STORES, KILLS = range(5), 10
IMAGE = make_image(30_000, 2 * MIB, 14 * MIB, seed=50)


async def pull(port: int) -> dict[str, Reply]:
    """Pull the image as a client does, three blobs at a time; what fails, because the engine died, is left out."""
    replies: dict[str, Reply] = {}
    turn = asyncio.Semaphore(3)

    async def one(target: str, key: str) -> None:
        async with turn:
            try:
                replies[key] = await request(port, "GET", f"/v2/library/app/{target}")
            except OSError:
                return

    await one("manifests/1", IMAGE.top)
    for digest in IMAGE.manifests:
        await one(f"manifests/{digest}", digest)
    await asyncio.gather(*(one(f"blobs/{digest}", digest) for digest in IMAGE.blobs))
    return replies


def assert_right(replies: dict[str, Reply]) -> None:
    """Whatever was answered whole is what its digest says."""
    for digest, reply in replies.items():
        if reply.status == 200 and reply.complete:
            assert Digest.of(reply.body) == digest


def assert_store_right(store: Path) -> None:
    """Every file that counts as content has the digest that is its name."""
    for path in (store / "blobs").glob("*/*/*"):
        assert Digest.of(path.read_bytes(), path.parent.parent.name).hex == path.name


@pytest.mark.timeout(scaled(240))
async def test_kill_at_random_moments(tmp_path: Path) -> None:
    """After a kill -9 at each of fifty random moments of a pull every byte that is served verifies."""
    async with FakeRegistry(SlowLink(800e6, 200e6, 0.005)) as upstream:
        upstream.add("library/app", "1", IMAGE)

        await asyncio.gather(
            *(kill_and_kill(tmp_path / f"{number}" / "store", upstream.url, number) for number in STORES)
        )


async def kill_and_kill(store: Path, url: str, seed: int) -> None:
    """Kill an engine over one store again and again, then pull all."""
    chance = random.Random(seed)
    engine = EngineProcess(store, {"docker.io": url})
    for _ in range(KILLS):
        async with engine.running() as port:
            pulling = asyncio.ensure_future(pull(port))  # noqa: TID251 - awaited below
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            engine.kill()
            assert_right(await pulling)
        assert_store_right(store)
    async with engine.running() as port:
        replies = await pull(port)
    assert {reply.status for reply in replies.values()} == {200}
    assert len(replies) == len(IMAGE.blobs) + len(IMAGE.manifests)
    assert_right(replies)
    assert_store_right(store)


async def test_stop_is_gentle_and_leaves_a_resumable_partial(tmp_path: Path) -> None:
    """SIGTERM ends with exit code 0; what had arrived of a large blob does not cross the line again."""
    store = tmp_path / "store"
    large = max(IMAGE.blobs, key=lambda digest: len(IMAGE.blobs[digest]))
    async with FakeRegistry() as upstream:
        upstream.add("library/app", "1", IMAGE)
        upstream.gate, upstream.gate_at = asyncio.Event(), 9 * MIB
        engine = EngineProcess(store, {"docker.io": upstream.url})
        async with engine.running() as port:
            for digest in ("1", *IMAGE.manifests):
                await request(port, "GET", f"/v2/library/app/manifests/{digest}")
            pulling = asyncio.ensure_future(request(port, "GET", f"/v2/library/app/blobs/{large}"))  # noqa: TID251 - awaited below
            await upstream.until(2, "GET", large)
            await eventually(partial(received, engine, 8 * MIB))
            assert await engine.stop() == 0
            assert not (await pulling).complete
        upstream.gate.set()
        before = upstream.body_bytes(large)
        async with engine.running() as port:
            reply = await request(port, "GET", f"/v2/library/app/blobs/{large}")

        assert reply.body == IMAGE.blobs[large]
        assert upstream.body_bytes(large) - before <= 7 * MIB


async def received(engine: EngineProcess, size: int) -> bool:
    """Whether so many bytes have come from upstream."""
    return (await engine.status())["upstreams"][0]["bytes_from_upstream"] >= size


async def test_second_process_on_a_store_is_refused(tmp_path: Path) -> None:
    """A second engine on the same store ends with exit code 1 and says who holds it; after a kill -9 it starts."""
    engine = EngineProcess(tmp_path / "store", {"docker.io": "http://127.0.0.1:1"})
    async with engine.running():
        second = EngineProcess(tmp_path / "store", {"docker.io": "http://127.0.0.1:1"})
        code, said = await second.run_to_the_end()
        assert code == 1
        assert f"process {engine.pid}" in said
        engine.kill()
    async with second.running() as port:
        assert (await request(port, "GET", "/v2/")).status == 200
