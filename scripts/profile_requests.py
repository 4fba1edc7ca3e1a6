"""How much of the engine a request enters: a stranger who follows it opens so many modules and reads so many functions.

    python -m scripts.profile_requests [--list KIND]

Real requests to a real engine (its store on a disk, its server on loopback) are profiled one by one, on a connection
that is open already. Only the upstream is not real, so what it enters is not counted. Each module and function counts
once, in whichever thread it runs; comprehensions and lambdas belong to the function that they stand in.
Exits with 1 where a request enters more than it may.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import obol
from obol.registry.control.api import Listener
from obol.registry.settings import EngineSettings
from obol.wiring.engine import running_engine
from tests.fakes.content import blob, digest_of, make_image
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from types import FrameType

Entered = frozenset[tuple[str, str]]
"""Modules below `obol`, each with a function."""

READY, WARM, TAG, COLD, ABSENT = "ready answer", "warm blob", "cold tag", "cold blob", "absent blob"
MOST: Mapping[str, tuple[int, int]] = {
    READY: (8, 10),
    WARM: (16, 60),
    TAG: (33, 156),
    COLD: (36, 225),
    ABSENT: (34, 156),
}
"""The most modules and functions that a request may enter; how many it does is a matter of moments where it waits."""
SIZE = 300_000
"""Bytes of a blob: too many to be kept in memory, and for a single piece."""
_ROOT = f"{Path(obol.__file__).parent}/"


class NearUpstream(FakeUpstream):
    """An upstream in memory that is closed as a real one is."""

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def profiled(found: set[tuple[str, str]]) -> Iterator[None]:
    """Gather what runs meanwhile, in this thread and in all that begin meanwhile."""

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_ROOT) and not code.co_name.startswith("<"):
            found.add((code.co_filename.removeprefix(_ROOT), code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def profile(root: Path) -> dict[str, Entered]:
    """What each kind of request enters, with a store at `root`."""
    upstream = NearUpstream("docker.io")
    image = make_image(SIZE)
    upstream.add("library/app", "1", image)
    settings = EngineSettings(root, (upstream.settings,), (Listener("docker.io", "127.0.0.1", 0),))
    found: set[tuple[str, str]] = set()
    seen: dict[str, Entered] = {}
    # Threads of the store live as long as the engine: they are profiled from their beginning. The watch of transfers
    # looks twice a second, whatever is asked: it would count for the request that it happens to meet.
    with (
        profiled(found),
        patch("obol.wiring.engine.RegistryUpstream", lambda *_: upstream),
        patch("obol.registry.transfers.transfer.LOOK_EVERY", 3600.0),
    ):
        async with running_engine(settings) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.listeners.list()[0].port)

            async def ask(kind: str, target: str, status: int = 200) -> None:
                found.clear()
                before = asyncio.all_tasks()
                writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                assert int(head.split()[1]) == status, head
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
                await reader.readexactly(int(length.split(b":")[1]))
                # A client has its answer before the exchange has ended, and before a blob is in its place.
                await asyncio.sleep(0.02)
                await asyncio.gather(*(asyncio.all_tasks() - before))
                seen[kind] = frozenset(found)

            manifest, layer = "/v2/library/app/manifests/1", f"/v2/library/app/blobs/{image.layers[0]}"
            await ask("", "/v2/")
            await ask(TAG, manifest)
            await ask(READY, manifest)
            await ask(COLD, layer)
            await ask("", layer)
            await ask(WARM, layer)
            await ask(ABSENT, f"/v2/library/app/blobs/{digest_of(blob(1, seed='absent')[1])}", 404)
            writer.close()
    return seen


def modules(entered: Entered) -> Counter[str]:
    """The modules, each with how many of its functions."""
    return Counter(module for module, _ in entered)


def table(seen: Mapping[str, Entered]) -> list[str]:
    """A line for each kind of request, with a mark at those that enter more than they may."""
    told = ["modules  functions"]
    for kind in MOST:
        counts = len(modules(seen[kind])), len(seen[kind])
        mark = "  TOO MANY" if counts[0] > MOST[kind][0] or counts[1] > MOST[kind][1] else ""
        told.append(f"{counts[0]:7}  {counts[1]:9}  {kind}{mark}")
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile and tell."""
    parser = argparse.ArgumentParser(description="Count what a request enters.")
    parser.add_argument("--list", choices=MOST, help="name what one kind enters")
    listed = parser.parse_args(arguments).list
    with tempfile.TemporaryDirectory(prefix="obol-profile-") as root:
        seen = asyncio.run(profile(Path(root) / "store"))
    told = table(seen)
    if listed is not None:
        told += [f"{module}: {function}" for module, function in sorted(seen[listed])]
    print("\n".join(told))
    return 1 if any(line.endswith("TOO MANY") for line in told) else 0


if __name__ == "__main__":
    sys.exit(main())
