"""An hour of attacks from upstreams and from clients, with honest pulls among them that are checked byte for byte."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.engine.gapmeter import worst
from tests.fakes.content import digest_of, make_image
from tests.fakes.evil import ATTACKS, EvilRegistries
from tests.fakes.http import request
from tests.fakes.registry import FakeRegistry, Repository
from tests.fakes.rude import RUDE, head, say
from tests.soak.engine import WatchedEngine
from tests.soak.figures import MIB, Figure, at_most, exactly, none_of, told
from tests.soak.scenario import Needs, Scenario

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
"""How long it lasts."""
GOOD = "docker.io"
REPOSITORY = "library/app"
ASKED = ("manifests/latest", f"blobs/{digest_of(b'')}", "tags/list", f"referrers/{digest_of(b'')}")
EVIL_AT_ONCE = 8
RUDE_AT_ONCE = 3
PULL_WITHIN = 20.0
"""Seconds for one honest request, whatever else goes on; the machine runs the attackers, too."""
KEPT = 10
"""Honest images that are pulled again now and then."""
SETTLES_WITHIN = 200.0
"""Seconds in which all that is left of the attacks has ended: the longest limit of the engine, and some."""
SPARE_FILES = 8
"""Descriptors that the engine may open for good in the course of things: of its index, of kept connections."""
GAP = 100.0
MEMORY = 200.0
GROWTH = 40.0
LOG = MIB


@dataclass(slots=True)
class Score:
    """What came of it all."""

    pulls: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    longest: float = 0.0
    attacks: int = 0
    rude: int = 0
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Field:
    """Where it happens."""

    engine: WatchedEngine
    registry: FakeRegistry
    ports: dict[str, int]
    until: float
    score: Score

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until


async def attack(place: Field) -> None:
    """Ask attacking upstreams for something, again and again."""
    while not place.over:
        name = random.choice(list(ATTACKS))
        target = random.choice(ASKED)
        await say(place.ports[name], head(f"/v2/x/{random.randrange(50)}/{target}"))
        place.score.attacks += 1


async def be_rude(place: Field) -> None:
    """Behave badly as a client, at the honest registry and at one with a large manifest."""
    while not place.over:
        rude = random.choice(list(RUDE.values()))
        if random.random() < 0.5:
            await rude(place.ports["large-manifest"], "/v2/x/y/manifests/latest")
        else:
            await rude(place.ports[GOOD], f"/v2/{REPOSITORY}/manifests/0")
        place.score.rude += 1


async def pull(place: Field, number: int) -> None:
    """Pull an honest image, as a client does, and compare all of it."""
    image = make_image(40_000, 700_000, seed=number)
    held = place.registry.repositories.setdefault(REPOSITORY, Repository())
    place.registry.add(REPOSITORY, str(number), image)
    targets = [(f"manifests/{number}", image.manifests[image.top].body)]
    targets += [(f"manifests/{digest}", stored.body) for digest, stored in image.manifests.items()]
    targets += [(f"blobs/{digest}", data) for digest, data in image.blobs.items()]
    for target, expected in targets:
        await fetch(place.score, place.ports[GOOD], f"/v2/{REPOSITORY}/{target}", expected)
    place.score.pulls += 1
    if number >= KEPT:
        for digest in image.blobs:
            held.blobs.pop(digest, None)


async def fetch(score: Score, port: int, target: str, expected: bytes) -> None:
    """One honest request. One that the engine asks to be repeated is repeated, as clients do."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(PULL_WITHIN):
            while True:
                reply = await request(port, "GET", target)
                if reply.status != 503:
                    break
                await asyncio.sleep(1)
    except (OSError, TimeoutError) as problem:
        score.failed.append(f"{target}: {type(problem).__name__}")
        return
    score.longest = max(score.longest, time.monotonic() - began)
    if reply.status != 200 or not reply.complete:
        score.failed.append(f"{target}: {reply.status} {reply.body[:200]!r}")
    elif reply.body != expected:
        score.wrong += 1


async def pull_on(place: Field) -> None:
    """New images, one after another, and now and then one that is held."""
    number = KEPT
    for first in range(KEPT):
        await pull(place, first)
    while not place.over:
        await pull(place, number)
        await pull(place, random.randrange(KEPT))
        number += 1
        await asyncio.sleep(1)


async def look(place: Field) -> None:
    """Measure the engine."""
    while not place.over:
        place.score.memory.append(place.engine.memory())
        place.score.files.append(place.engine.open_files())
        await asyncio.sleep(min(10.0, max(0.1, place.until - time.monotonic())))


async def settled(engine: WatchedEngine, files: int) -> int:
    """Descriptors open beyond `files` when all has ended, or after a while."""
    await engine.idle(SETTLES_WITHIN)
    for _ in range(int(SETTLES_WITHIN)):
        if engine.open_files() <= files + SPARE_FILES:
            break
        await asyncio.sleep(1)
    return engine.open_files() - files


async def fight(place: Field) -> None:
    """All of them at once."""
    parts: list[tuple[Callable[[Field], Awaitable[None]], int]] = [
        (attack, EVIL_AT_ONCE),
        (be_rude, RUDE_AT_ONCE),
        (pull_on, 1),
        (look, 1),
    ]
    await asyncio.gather(*(part(place) for part, count in parts for _ in range(count)))


async def run(scratch: Path, minutes: float = MINUTES) -> Sequence[Figure]:
    """Fight for so long; then all must be as before."""
    gaps, score = scratch / "gaps", Score()
    async with FakeRegistry() as registry:
        with EvilRegistries() as evil:
            upstreams = {GOOD: registry.url} | {f"{name}.test": url for name, url in evil.urls.items()}
            engine = WatchedEngine(scratch / "store", upstreams, meter=gaps)
            async with engine.running():
                status = await engine.status()
                ports = {str(one["registry"]).removesuffix(".test"): one["port"] for one in status["listeners"]}
                before = engine.open_files()
                place = Field(engine, registry, ports, time.monotonic() + minutes * 60, score)
                await fight(place)
                left = await settled(engine, before)
                fills, alive, peak = (await engine.told()).fills, engine.alive, engine.peak_memory()
    return figures(score, minutes, Rest(left, fills, peak, engine.log_size(), engine.mistakes(), int(alive)), gaps)


@dataclass(frozen=True, slots=True)
class Rest:
    """The engine afterwards."""

    files: int
    fills: int
    peak: float
    log: int
    mistakes: int
    alive: int


def figures(score: Score, minutes: float, rest: Rest, gaps: Path) -> Sequence[Figure]:
    """What is told, and what must hold."""
    third = max(1, len(score.memory) // 3)
    growth = median(score.memory[-third:]) - median(score.memory[third : 2 * third] or score.memory)
    took, what = worst(gaps)
    return [
        told("minutes", f"{minutes:g}"),
        told("questions to attacking upstreams, and attacks by clients", f"{score.attacks}, {score.rude}"),
        told("honest images pulled", score.pulls),
        *(told("a request that failed", one) for one in score.failed[:5]),
        none_of("honest requests that failed", len(score.failed)),
        none_of("honest requests with wrong bytes", score.wrong),
        at_most("longest honest request", score.longest, PULL_WITHIN, "s"),
        told("the longest callback", what),
        at_most("processor time of the longest callback", took, GAP, "ms"),
        at_most("peak of resident memory", rest.peak, MEMORY, "MiB"),
        at_most("growth of resident memory over the last two thirds", growth, GROWTH, "MiB"),
        told("open files at most", max(score.files, default=0)),
        at_most("open files more than before, afterwards", rest.files, SPARE_FILES),
        none_of("transfers that have not ended", rest.fills),
        none_of("tracebacks in the log", rest.mistakes),
        at_most("log", rest.log, LOG, "bytes"),
        exactly("the engine still runs", rest.alive, 1),
    ]


HOSTILE = Scenario(
    name="hostile",
    title="attacks from upstreams and clients, with honest pulls among them",
    method=(
        f"{len(ATTACKS)} upstreams attack, each in its way: malformed and tiny chunks, floods of header lines and of "
        "interim answers, challenges, tokens and redirects made to hurt, manifests and lists of megabytes, silence. "
        f"Clients attack in {len(RUDE)} ways: floods of Accept, requests that are never finished or whose answers are "
        "never read, made-up names. Meanwhile one client pulls new images and old ones, and compares every byte. It "
        "lasts 60 minutes, or as long as SOAK_MINUTES says."
    ),
    run=run,
    needs=Needs(disk=4 << 30, memory=2 << 30),
    guarantees=(
        (
            "No attack of these wedges a transfer or a client, leaks a descriptor, fills the log or the memory, or "
            f"holds the event loop for more than {GAP:.0f} ms; an honest client gets the right bytes in time."
        ),
    ),
    limits=("The attackers run on the same machine, so times include theirs.",),
)
