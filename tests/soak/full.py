"""A disk of 64 MiB that is filled in the middle of a pull."""

import asyncio
import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from obol.machine.tasks import spawn
from obol.oci.references import Digest
from tests.fakes.content import FakeImage, make_image
from tests.fakes.http import request
from tests.fakes.registry import FakeRegistry, SlowLink
from tests.soak.engine import WatchedEngine
from tests.soak.figures import MIB, Figure, exactly, none_of, told
from tests.soak.scenario import Needs, Scenario
from tests.soak.volume import mounted

VOLUME = 64 * MIB
BALLAST = "ballast"
CLIENTS = 8
FILLED_AT = 8 * MIB
"""How much of the blob has come from upstream when the disk is filled."""

KEPT = make_image(3 * MIB, seed=61)
LARGE = make_image(24 * MIB, seed=62)
WHILE_FULL = make_image(6 * MIB, seed=63)
TOO_LARGE = make_image(100 * MIB, seed=64)
AFTER = make_image(10 * MIB, seed=65)
IMAGES = {"kept": KEPT, "large": LARGE, "while-full": WHILE_FULL, "too-large": TOO_LARGE, "after": AFTER}


@dataclass(frozen=True, slots=True)
class Pulls:
    """How many of some clients got all of an image, how many answers were complete but wrong, and upstream bytes."""

    whole: int
    wrong: int
    fetched: int


async def pull_once(port: int, tag: str, image: FakeImage) -> tuple[bool, int]:
    """Pull the manifests and layers; whether all came right, and how many were complete and wrong."""
    whole, wrong = True, 0
    targets = [("manifests", tag, image.top)]
    targets += [("manifests", digest, digest) for digest in image.manifests]
    targets += [("blobs", digest, digest) for digest in image.blobs]
    for kind, name, digest in targets:
        reply = await request(port, "GET", f"/v2/library/app/{kind}/{name}")
        right = Digest.of(reply.body) == digest
        whole &= reply.status == 200 and reply.complete and right
        wrong += reply.status == 200 and reply.complete and not right
    return whole, wrong


async def pull(port: int, tag: str, upstream: FakeRegistry, clients: int = 1) -> Pulls:
    """Several clients pull the same image at once."""
    before = upstream.body_bytes("/blobs/")
    done = await asyncio.gather(*(pull_once(port, tag, IMAGES[tag]) for _ in range(clients)))
    whole, wrong = sum(one[0] for one in done), sum(one[1] for one in done)
    return Pulls(whole, wrong, upstream.body_bytes("/blobs/") - before)


def fill(volume: Path) -> None:
    """Take all that is left of the disk, with one file; it may be said again."""
    descriptor = os.open(volume / BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    size = MIB
    try:
        while size >= 512:
            try:
                os.write(descriptor, bytes(size))
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise
                size //= 2
    finally:
        os.close(descriptor)


async def fill_in_the_middle(volume: Path, upstream: FakeRegistry) -> None:
    """Fill the disk when enough of a blob has come."""
    before = upstream.body_bytes("/blobs/")
    while upstream.body_bytes("/blobs/") - before < FILLED_AT:  # noqa: ASYNC110 - the fake tells nobody what it sends
        await asyncio.sleep(0.005)
    await asyncio.to_thread(fill, volume)


async def is_stored(port: int, tag: str, upstream: FakeRegistry) -> bool:
    """Whether a pull takes nothing from upstream."""
    pulled = await pull(port, tag, upstream)
    return bool(pulled.whole) and pulled.fetched == 0


async def run(scratch: Path) -> Sequence[Figure]:
    """Pull, fill the disk, pull, make room, pull."""
    async with mounted(scratch, VOLUME) as volume, FakeRegistry(SlowLink(400e6, 200e6, 0.005)) as upstream:
        for tag, image in IMAGES.items():
            upstream.add("library/app", tag, image)
        engine = WatchedEngine(volume / "store", {"docker.io": upstream.url})
        async with engine.running() as port:
            return await _course(engine, port, volume, upstream)


async def _course(engine: WatchedEngine, port: int, volume: Path, upstream: FakeRegistry) -> list[Figure]:
    pulls = [await pull(port, "kept", upstream)]
    lines = [
        *await _filled(port, volume, upstream, pulls),
        exactly("the engine lives", int(engine.alive), 1),
        *await _with_room(engine, port, volume, upstream, pulls),
    ]
    partials = (await engine.told()).partials.size
    return [
        *lines,
        none_of("complete answers with wrong bytes", sum(one.wrong for one in pulls)),
        none_of("bytes of abandoned downloads on the disk", partials),
        none_of("tracebacks in the log", engine.mistakes()),
    ]


async def _filled(port: int, volume: Path, upstream: FakeRegistry, pulls: list[Pulls]) -> list[Figure]:
    """The disk is filled while some pull, and full while others come."""
    filling = spawn(fill_in_the_middle(volume, upstream), name="ballast")
    try:
        during = await pull(port, "large", upstream, CLIENTS)
    finally:
        if not filling.done():
            filling.cancel()
    await filling
    await asyncio.to_thread(fill, volume)  # what the transfer had taken is free again
    left = shutil.disk_usage(volume).free
    hit = await is_stored(port, "kept", upstream)
    full = await pull(port, "while-full", upstream, CLIENTS)
    left = max(left, shutil.disk_usage(volume).free)
    pulls += [during, full]
    return [
        told("the disk, and what was left of it while more was pulled", f"{VOLUME // MIB} MiB, {left} bytes"),
        exactly(f"of {CLIENTS} clients whose pull was under way, those that got all", during.whole, CLIENTS),
        told("from upstream for them", f"{during.fetched / MIB:.0f} MiB for a blob of 24 MiB"),
        exactly("a stored image was served from the full disk", int(hit), 1),
        exactly(f"of {CLIENTS} clients who came while the disk was full, those that got all", full.whole, CLIENTS),
    ]


async def _with_room(
    engine: WatchedEngine, port: int, volume: Path, upstream: FakeRegistry, pulls: list[Pulls]
) -> list[Figure]:
    """There is room again; then somebody wants more than there is room for."""
    (volume / BALLAST).unlink()
    again = await pull(port, "large", upstream)
    await engine.idle(20)
    recovered = await is_stored(port, "large", upstream)
    too_large = await pull(port, "too-large", upstream, CLIENTS)
    await engine.idle(20)
    after = await pull(port, "after", upstream)
    await engine.idle(20)
    stored = await is_stored(port, "after", upstream) and await is_stored(port, "kept", upstream)
    pulls += [again, too_large, after]
    return [
        exactly("when there was room again, the image was stored without a restart", int(recovered), 1),
        exactly(f"of {CLIENTS} clients of a blob larger than the disk, those that got all", too_large.whole, CLIENTS),
        exactly("and the next image was stored", int(stored and bool(after.whole)), 1),
    ]


FULL = Scenario(
    name="full",
    title="A disk that is filled in the middle of a pull",
    method=(
        f"The store and the engine's log are on an ext4 of {VOLUME // MIB} MiB. {CLIENTS} clients pull a blob of 24 "
        f"MiB; when {FILLED_AT // MIB} MiB have come, a file takes all that is left of the disk. More is pulled "
        "while it is full; then the file is removed, and more is pulled, a blob of 100 MiB among it."
    ),
    run=run,
    needs=Needs(disk=1 << 30, memory=1 << 30, loop_mount=True),
    guarantees=(
        (
            "When the disk is full every client still gets all of its image, from the upstream; what is stored is "
            "still served; and as soon as there is room, images are stored again, without a restart."
        ),
    ),
    limits=(
        (
            "While the disk is full each client that follows a transfer goes on by itself, so the upstream sends "
            "the rest once for each of them."
        ),
    ),
)
