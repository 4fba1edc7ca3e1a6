"""Five hundred clients who read slowly, and one who does not."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.soak.engine import MEMORY_BOUND_MIB, WatchedEngine
from tests.soak.figures import GIB, MIB, Figure, at_most, exactly, none_of, size, told
from tests.soak.herd import know
from tests.soak.reading import Read, read_blob
from tests.soak.scenario import Needs, Scenario
from tests.soak.sparse import REPOSITORY, Origin, SparseBlob, make_sparse

READERS = 500
BLOB = 4 * GIB
SIP = 16 * 1024
PAUSE = 1.0
WINDOW = 64 * 1024
"""The receive buffer of a slow reader, so that what it has not read waits at the engine."""
LASTS = 20.0
"""Seconds for which the slow ones read at least."""
RELEASED_WITHIN = 30.0


@dataclass(slots=True)
class Slow:
    """One slow reader: what it has read of the body, and whether any of it was wrong."""

    connection: socket.socket
    count: int = 0
    wrong: bool = False
    ended: bool = False


async def begin(port: int, blob: SparseBlob) -> Slow:
    """Ask for the blob and read the head."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
    connection.setblocking(False)
    await loop.sock_connect(connection, ("127.0.0.1", port))
    head = f"GET /v2/{REPOSITORY}/blobs/{blob.digest} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    await loop.sock_sendall(connection, head.encode())
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(connection, 1)
        if not byte:
            break
        got += byte
    return Slow(connection, ended=not got.startswith(b"HTTP/1.1 200"))


async def sip(reader: Slow, blob: SparseBlob, over: asyncio.Event) -> None:
    """Read a little, wait, and so on until told to end; what is read is compared."""
    loop = asyncio.get_running_loop()
    with blob.mapped() as expected:
        while not over.is_set() and not reader.ended:
            data = await loop.sock_recv(reader.connection, SIP)
            reader.ended = not data
            reader.wrong |= data != expected[reader.count : reader.count + len(data)]
            reader.count += len(data)
            await asyncio.sleep(PAUSE)


async def files_back_to(engine: WatchedEngine, wanted: int) -> int:
    """Descriptors open beyond `wanted`, once they are so few, or after a while."""
    for _ in range(int(RELEASED_WITHIN * 10)):
        if engine.open_files() <= wanted:
            break
        await asyncio.sleep(0.1)
    return engine.open_files() - wanted


@dataclass(frozen=True, slots=True)
class Watched:
    """What the fast reader got, and the engine at its largest."""

    cold: Read
    warm: Read
    files: int
    peak: float


async def gather(engine: WatchedEngine, port: int, blob: SparseBlob, readers: list[Slow], count: int) -> Watched:
    """The slow ones begin on the cold blob; then a fast one comes, twice; the slow ones go on for a while."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    until = loop.time() + LASTS
    fast = partial(read_blob, port, blob, compare=1 / 4)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                readers.append(await begin(port, blob))
                group.create_task(sip(readers[-1], blob, over))
            cold = await asyncio.to_thread(fast)
            await engine.idle(60)
            warm = await asyncio.to_thread(fast)
            await asyncio.sleep(max(0.0, until - loop.time()))
            seen = Watched(cold, warm, engine.open_files(), engine.peak_memory())
            over.set()
        return seen
    finally:
        for reader in readers:
            reader.connection.close()


async def run(scratch: Path, *, whole: int = BLOB, count: int = READERS) -> Sequence[Figure]:
    """Slow readers and a fast one; then all leave."""
    blob = await asyncio.to_thread(make_sparse, scratch / "blob", whole, 500)
    readers: list[Slow] = []
    with Origin([blob]).serving() as origin:
        engine = WatchedEngine(scratch / "store", {"docker.io": origin.url})
        async with engine.running() as port:
            await know(port)
            before, at_rest = engine.open_files(), engine.memory()
            seen = await gather(engine, port, blob, readers, count)
            left = await files_back_to(engine, before)
        sent = origin.sent[blob.digest]
    return [
        told("slow readers", f"{count}, {SIP // 1024} KiB/s each, of a blob of {size(whole)}"),
        told("read by the slow ones", size(sum(reader.count for reader in readers))),
        told(
            "the fast reader, cold and then warm",
            f"{_speed(whole, seen.cold.seconds)}, {_speed(whole, seen.warm.seconds)}",
        ),
        exactly("the fast reader got all, both times", int(seen.cold.complete) + int(seen.warm.complete), 2),
        none_of("slow readers that were let go", sum(reader.ended for reader in readers)),
        none_of("slow readers with wrong bytes", sum(reader.wrong for reader in readers)),
        exactly("bytes from the upstream for this blob", sent, whole),
        told("memory before", f"{at_rest:.0f} MiB"),
        at_most("peak of resident memory", seen.peak, MEMORY_BOUND_MIB, "MiB"),
        told("open files of the engine more than before, with all readers", seen.files - before),
        at_most("open files more than before, after they left", left, 0),
        none_of("tracebacks in the log", engine.mistakes()),
    ]


def _speed(whole: int, seconds: float) -> str:
    return f"{whole / MIB / seconds:.0f} MiB/s"


SLOW = Scenario(
    name="slow",
    title=f"{READERS} slow readers",
    method=(
        f"{READERS} clients ask for a cold blob of 4 GiB and read {SIP // 1024} KiB of it each second, comparing what "
        "they read; a client at full speed comes after them, and again when the blob is stored. Then all hang up."
    ),
    run=run,
    needs=Needs(disk=6 * GIB, memory=4 * GIB),
    guarantees=(
        (
            f"{READERS} clients that hardly read do not hold up another client or the transfer, and memory stays "
            f"below {MEMORY_BOUND_MIB:.0f} MiB. When they leave, the engine gives back what they held."
        ),
    ),
    limits=("What waits for slow readers in the kernel's socket buffers is not counted as memory of the engine.",),
)
