"""Sixty-four clients at once on cold blobs of 2 GiB: one transfer each, and a memory that does not grow with them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.fakes.http import request
from tests.soak.engine import MEMORY_BOUND_MIB, WatchedEngine
from tests.soak.figures import GIB, MIB, Figure, at_most, exactly, none_of, size, told
from tests.soak.reading import Read, read_blob
from tests.soak.scenario import Needs, Scenario
from tests.soak.sparse import REPOSITORY, Origin, SparseBlob, make_sparse

CLIENTS = 64
BLOBS = 2
COMPARED = 1 / 8


async def know(port: int) -> None:
    """Pull the manifest, as every client does first."""
    reply = await request(port, "GET", f"/v2/{REPOSITORY}/manifests/1")
    assert reply.status == 200


async def read_all(port: int, blobs: Sequence[SparseBlob], threads: ThreadPoolExecutor, clients: int) -> list[Read]:
    """All clients begin together, each with one of the blobs."""
    loop = asyncio.get_running_loop()
    reads = [
        partial(read_blob, port, blobs[number % len(blobs)], compare=COMPARED, seed=number) for number in range(clients)
    ]
    return await asyncio.gather(*(loop.run_in_executor(threads, read) for read in reads))


async def run(scratch: Path, *, each: int = 2 * GIB, clients: int = CLIENTS) -> Sequence[Figure]:
    """All at once, cold."""
    blobs = [await asyncio.to_thread(make_sparse, scratch / f"blob-{seed}", each, seed) for seed in range(BLOBS)]
    # The threads end when the engine does, so they are waited for after it.
    with Origin(blobs).serving() as origin, ThreadPoolExecutor(clients) as threads:
        engine = WatchedEngine(scratch / "store", {"docker.io": origin.url})
        async with engine.running() as port:
            await know(port)
            before = engine.open_files()
            at_rest = engine.memory()
            reads = await read_all(port, blobs, threads, clients)
            peak = engine.peak_memory()
            await engine.idle(60)
            held = (await engine.told()).content.size
            left = engine.open_files() - before
        sent = sum(origin.sent.values())
    total = sum(read.count for read in reads)
    seconds = max(read.seconds for read in reads)
    compared = sum(read.compared for read in reads)
    return [
        told("clients, blobs", f"{clients}, {len(blobs)} of {size(each)}"),
        told("read by clients", f"{size(total)} in {seconds:.0f} s ({total / MIB / seconds:.0f} MiB/s)"),
        told("pieces compared with the upstream's file", f"{compared} (up to 1 MiB each)"),
        exactly("clients that got all", sum(read.complete for read in reads), clients),
        none_of("wrong pieces", sum(read.wrong for read in reads)),
        exactly("bytes from the upstream for these blobs", sent, each * len(blobs)),
        exactly("blobs stored", held // each, len(blobs)),
        told("memory before the first blob", f"{at_rest:.0f} MiB"),
        at_most("peak of resident memory", peak, MEMORY_BOUND_MIB, "MiB"),
        # Connections to the upstream that are kept for the next request.
        at_most("open files more than before", left, 2 * len(blobs) * 6),
        none_of("tracebacks in the log", engine.mistakes()),
    ]


HERD = Scenario(
    name="herd",
    title=f"{CLIENTS} clients on cold blobs of 2 GiB",
    method=(
        f"{CLIENTS} clients ask at once for {BLOBS} cold blobs of 2 GiB, files with holes at the upstream. Each counts "
        "what it reads and compares an eighth of the pieces, chosen at random, with the upstream's file. Clients, "
        "upstream and engine share the machine, so the speed is that of all three together."
    ),
    run=run,
    needs=Needs(disk=5 * GIB, memory=6 * GIB),
    guarantees=(
        (
            f"With {CLIENTS} clients on blobs of 2 GiB, resident memory stays below {MEMORY_BOUND_MIB:.0f} MiB. "
            "Every client gets all of its blob, and the engine fetches each blob once."
        ),
    ),
)
