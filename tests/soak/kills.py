"""Kill -9 at two hundred random moments, under load, and look at everything after each."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from obol.machine.tasks import spawn
from obol.oci.references import Digest
from tests.fakes.content import FakeImage, make_image
from tests.fakes.http import Reply, request
from tests.fakes.registry import FakeRegistry, SlowLink
from tests.soak.engine import WatchedEngine
from tests.soak.figures import MIB, Figure, exactly, none_of, told
from tests.soak.scenario import Needs, Scenario
from tests.soak.stored import verify

KILLS = 200
KILLS_OF_A_STORE = 10
CLIENTS = 4
LATEST = 0.9
WHILE_STARTING = 0.1
"""The part of kills that come before the engine listens."""
START_TAKES = 0.6
PATIENCE = 20.0

IMAGES = {f"t{seed}": make_image(500, 30_000, 2 * MIB, 5 * MIB * (seed + 1), seed=200 + seed) for seed in range(3)}


@dataclass(slots=True)
class Found:
    """Counts over all kills."""

    right: int = 0
    wrong_answers: int = 0
    cut: int = 0
    refused: int = 0
    bytes_served: int = 0
    files_verified: int = 0
    wrong_files: int = 0
    lying_rows: int = 0
    damaged_indexes: int = 0
    lost: int = 0
    rows_lost: int = 0
    fetched_again: int = 0
    mistakes: int = 0
    in_an_answer: int = 0
    incomplete_pulls: int = 0
    held: set[str] = field(default_factory=set)
    """What the store of the moment held after the last kill."""
    rows: set[str] = field(default_factory=set)

    def judge(self, digest: str, reply: Reply) -> None:
        if reply.status != 200:
            self.refused += reply.status != 0
            self.cut += reply.status == 0
        elif not reply.complete:
            self.cut += 1
        elif Digest.of(reply.body) == digest:
            self.right += 1
            self.bytes_served += len(reply.body)
        else:
            self.wrong_answers += 1


async def pull(port: int, tag: str, image: FakeImage, found: Found) -> bool:
    """Pull one image as a client does, three blobs at a time; whether all of it came, and was right."""
    turn = asyncio.Semaphore(3)
    before = found.right

    async def one(target: str, digest: str) -> None:
        async with turn:
            try:
                found.judge(digest, await request(port, "GET", f"/v2/library/app/{target}"))
            except OSError:  # nobody listens any more
                found.cut += 1

    await one(f"manifests/{tag}", image.top)
    for digest in image.manifests:
        await one(f"manifests/{digest}", digest)
    await asyncio.gather(*(one(f"blobs/{digest}", digest) for digest in image.blobs))
    return found.right - before == 1 + len(image.manifests) + len(image.blobs)


async def load(port: int, found: Found, chance: random.Random) -> None:
    """Several clients, each with images in an order of its own."""

    async def client(tags: list[str]) -> None:
        for tag in tags:
            await pull(port, tag, IMAGES[tag], found)

    orders = [chance.sample(sorted(IMAGES), len(IMAGES)) for _ in range(CLIENTS)]
    await asyncio.gather(*(client(order) for order in orders))


async def kill_once(engine: WatchedEngine, found: Found, chance: random.Random, upstream: FakeRegistry) -> None:
    """Start, load, kill; what was stored before must not be asked of the upstream again."""
    if chance.random() < WHILE_STARTING:
        await engine.killed_while_starting(chance.uniform(0.0, START_TAKES))
        return
    before = {digest: upstream.body_bytes(f"/blobs/{digest}") for digest in found.held}
    async with engine.running() as port:
        loading = spawn(load(port, found, chance), name="load")
        try:
            await asyncio.sleep(chance.uniform(0.0, LATEST))
            cut = found.cut
            engine.kill()
        finally:
            await loading
        found.in_an_answer += found.cut > cut
    found.fetched_again += sum(upstream.body_bytes(f"/blobs/{digest}") > sent for digest, sent in before.items())


async def look(store: Path, found: Found) -> None:
    """Verify the whole store, and that nothing of what it held is missing."""
    seen = await asyncio.to_thread(verify, store)
    found.files_verified += len(seen.files)
    found.wrong_files += len(seen.wrong)
    found.lying_rows += len(seen.lying)
    found.damaged_indexes += seen.damaged_index
    found.lost += len(found.held - seen.files)
    found.rows_lost += len(found.rows - seen.rows)
    found.held, found.rows = set(seen.files), set(seen.rows)


async def finish(engine: WatchedEngine, store: Path, found: Found) -> None:
    """After the last kill of a store all of it is pulled, and stored."""
    async with engine.running() as port:
        for tag, image in IMAGES.items():
            found.incomplete_pulls += not await pull(port, tag, image, found)
        await engine.idle(PATIENCE)
        assert await engine.stop() == 0
    await look(store, found)
    found.mistakes += engine.mistakes()
    wanted = {digest for image in IMAGES.values() for digest in (*image.blobs, *image.manifests)}
    found.lost += len(wanted - found.held)


async def run(scratch: Path, *, kills: int = KILLS) -> Sequence[Figure]:
    """Kill, verify, and again; an empty store after every ten."""
    chance = random.Random(4711)
    found = Found()
    async with FakeRegistry(SlowLink(800e6, 200e6, 0.005)) as upstream:
        for tag, image in IMAGES.items():
            upstream.add("library/app", tag, image)
        for first in range(0, kills, KILLS_OF_A_STORE):
            store = scratch / f"store-{first}"
            engine = WatchedEngine(store, {"docker.io": upstream.url})
            found.held, found.rows = set(), set()
            for _ in range(min(KILLS_OF_A_STORE, kills - first)):
                await kill_once(engine, found, chance, upstream)
                await look(store, found)
            await finish(engine, store, found)
            upstream.log.clear()
    return figures(found, kills)


def figures(found: Found, kills: int) -> list[Figure]:
    """The table."""
    return [
        told("kills", kills),
        told("of these in the middle of an answer", found.in_an_answer),
        told("answers that were complete and right", f"{found.right} ({found.bytes_served / MIB:.0f} MiB)"),
        told("answers that the kills cut short", found.cut),
        told("files of content hashed after the kills", found.files_verified),
        none_of("complete answers with wrong bytes", found.wrong_answers),
        none_of("files whose bytes are not those of their name", found.wrong_files),
        none_of("rows of the index without their file", found.lying_rows),
        none_of("damaged indexes", found.damaged_indexes),
        none_of("stored objects that were lost", found.lost),
        none_of("rows that were lost", found.rows_lost),
        none_of("stored blobs that were fetched again", found.fetched_again),
        none_of("refused requests", found.refused),
        exactly("pulls after the last kill of a store that were not whole", found.incomplete_pulls, 0),
        none_of("tracebacks in the log", found.mistakes),
    ]


KILL = Scenario(
    name="kills",
    title=f"{KILLS} times kill -9 under load",
    method=(
        f"{CLIENTS} clients pull three images (4 blobs of 500 B to 15 MiB each) from an upstream slowed to 800 "
        "Mbit/s in all and 200 Mbit/s per connection; the engine is killed at a random moment of the first "
        f"{LATEST} s, one time in {round(1 / WHILE_STARTING)} while it starts. After each kill every file is hashed "
        f"and the index compared with the files; after every {KILLS_OF_A_STORE} all is pulled, and a new store "
        "begun."
    ),
    run=run,
    needs=Needs(disk=2 << 30, memory=1 << 30),
    guarantees=(
        (
            "After the process dies at any moment, everything that is served has its digest, no half-written file "
            "counts as content, and nothing that had been stored is lost or fetched again."
        ),
    ),
    limits=(
        (
            "A kill of the process is not a loss of power: what the kernel had accepted is still there. The order "
            "of a commit (fsync, rename, fsync of the directory, row) is meant for that, but no run here cuts the "
            "power."
        ),
    ),
)
