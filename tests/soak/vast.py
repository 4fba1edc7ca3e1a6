"""One blob of 12 GiB: lengths beyond 2 and 4 GiB, ranges near its end, and little memory."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.fakes.http import request
from tests.soak.engine import WatchedEngine
from tests.soak.figures import GIB, MIB, Figure, at_most, exactly, none_of, size, told
from tests.soak.herd import know
from tests.soak.reading import Read, read_blob
from tests.soak.scenario import Needs, Scenario
from tests.soak.sparse import REPOSITORY, Origin, SparseBlob, make_sparse

BLOB = 12 * GIB
MEMORY_MIB = 200.0
FAR = 11 / 12
"""Where the far range begins: 11 GiB of 12."""


def spans(whole: int) -> list[tuple[int, int]]:
    """Ranges where 32 bits, signed or not, would not do, at what one sendfile call takes at most, and at the end."""
    edges = [1 << 31, 0x7FFFF000, 1 << 32, int(whole * FAR), 10 * GIB]
    found = [(edge - MIB, edge + MIB) for edge in edges if edge + MIB <= whole]
    return [*found, (whole - 1, whole), (whole - MIB, whole)]


async def ranges(port: int, blob: SparseBlob, threads: ThreadPoolExecutor) -> list[Read]:
    """Read each of the spans, all at once."""
    loop = asyncio.get_running_loop()
    reads = [partial(read_blob, port, blob, span=span) for span in spans(blob.size)]
    return await asyncio.gather(*(loop.run_in_executor(threads, read) for read in reads))


async def told_length(port: int, blob: SparseBlob) -> int:
    """What a HEAD says."""
    reply = await request(port, "HEAD", f"/v2/{REPOSITORY}/blobs/{blob.digest}")
    return int(reply.header("Content-Length") or 0)


async def run(scratch: Path, *, whole: int = BLOB) -> Sequence[Figure]:
    """A far range of the cold blob, then all of it with ranges beside it, then ranges from the store."""
    blob = await asyncio.to_thread(make_sparse, scratch / "blob", whole, 12)
    loop = asyncio.get_running_loop()
    with Origin([blob]).serving() as origin, ThreadPoolExecutor(16) as threads:
        engine = WatchedEngine(scratch / "store", {"docker.io": origin.url})
        async with engine.running() as port:
            await know(port)
            start = int(whole * FAR)
            far = await loop.run_in_executor(threads, partial(read_blob, port, blob, span=(start, start + 4 * MIB)))
            early = engine.peak_memory()
            pulling = loop.run_in_executor(threads, partial(read_blob, port, blob, compare=1 / 4))
            during = await ranges(port, blob, threads)
            full = await pulling
            stored = await engine.idle(120)
            sent = origin.sent[blob.digest]
            after = await ranges(port, blob, threads)
            again = origin.sent[blob.digest] - sent
            length = await told_length(port, blob)
            peak = engine.peak_memory()
            held = (await engine.told()).content.size
    return [
        told("blob", size(whole)),
        told("first range of the cold blob", f"{size(start)} to {size(start + 4 * MIB)}, after {far.seconds:.2f} s"),
        exactly("the far range of the cold blob came", int(far.complete), 1),
        told("the whole blob", f"{size(full.count)} in {full.seconds:.0f} s"),
        exactly("the whole blob came", int(full.complete and stored and held >= whole), 1),
        exactly("ranges that came while it was fetched", sum(read.complete for read in during), len(spans(whole))),
        exactly("ranges that came from the store", sum(read.complete for read in after), len(spans(whole))),
        none_of("wrong pieces", sum(read.wrong for read in [far, full, *during, *after])),
        exactly("length in the answer to HEAD", length, whole),
        none_of("bytes from the upstream for the stored blob", again),
        told("peak of resident memory after the far range", f"{early:.0f} MiB"),
        at_most("peak of resident memory", peak, MEMORY_MIB, "MiB"),
        none_of("tracebacks in the log", engine.mistakes()),
    ]


VAST = Scenario(
    name="vast",
    title="A blob of 12 GiB",
    method=(
        "The upstream has a blob of 12 GiB, a file with holes. A client asks for 4 MiB at 11 GiB while nothing is "
        "stored; then one pulls all of it while others ask for ranges around 2 GiB, 4 GiB, 10 GiB, 11 GiB and at "
        "the end; then the same ranges are asked of the store."
    ),
    run=run,
    needs=Needs(disk=14 * GIB, memory=2 * GIB),
    guarantees=(
        (
            f"A blob of 12 GiB is fetched, stored and served whole and in ranges with less than {MEMORY_MIB:.0f} "
            "MiB of resident memory; a range far ahead of what is stored does not wait for what is before it."
        ),
    ),
)
