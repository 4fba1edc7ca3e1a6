"""Twenty-four hours of tags that move and an upstream that fails now and then, in virtual time.

The engine runs in this process with its real store and real connections; only its clock is ours.
"""

import asyncio
import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from obol.oci.references import Digest
from obol.registry.control.api import Listener
from obol.registry.settings import EngineSettings, TimeLimits, UpstreamSettings
from obol.wiring.engine import RunningEngine, running_engine
from tests.fakes.clock import FakeClock
from tests.fakes.content import make_image
from tests.fakes.http import Reply, request
from tests.fakes.registry import FakeRegistry, Forced
from tests.soak.figures import Figure, at_most, none_of, size, told
from tests.soak.scenario import Needs, Scenario

HOURS = 24
TTL = 60.0
TAGS = 12
STEP = (2.0, 20.0)
"""Seconds between two moments at which something is asked."""
BACKGROUND = 30.0
"""Sleeps as long as this are those of work beside requests; shorter ones are pauses before another attempt."""
MOVES_EVERY = 40 * 60.0
TROUBLE_EVERY = 3600.0
TROUBLE_LASTS = (30.0, 900.0)
HERD = 50
STALE_AFTER = TimeLimits().stale_after
"""Seconds of the machine's time after which a known tag is answered with what it last meant."""


class VirtualClock(FakeClock):
    """Long sleepers wake when the hand has passed their moment; a short sleep moves the hand itself."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    async def sleep(self, seconds: float) -> None:
        if seconds < BACKGROUND:
            self.advance(seconds)
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), woken))
        await woken

    async def pass_on(self, seconds: float) -> None:
        """Let time pass and wake who is due."""
        self.advance(seconds)
        while self._sleepers and self._sleepers[0][0] <= self.now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await asyncio.sleep(0)


@dataclass(slots=True)
class World:
    """The upstream as it should be seen: what each tag has meant since when, and when there was trouble."""

    upstream: FakeRegistry
    clock: VirtualClock
    chance: random.Random
    meant: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    trouble_until: float = 0.0
    well_since: float = 0.0
    kind: str = ""
    troubles: Counter[str] = field(default_factory=Counter)
    moves: int = 0

    def move(self, tag: str) -> None:
        image = make_image(100, seed=10_000 + self.moves)
        self.moves += 1
        self.upstream.add("library/app", tag, image)
        self.meant.setdefault(tag, []).append((self.clock.now, image.top))

    def could_mean(self, tag: str, since: float) -> set[str]:
        """The digests that a tag has meant from a moment on."""
        history = self.meant[tag]
        ends = [start for start, _ in history[1:]] + [float("inf")]
        return {digest for (_, digest), end in zip(history, ends, strict=True) if end >= since}

    async def happen(self, seconds: float) -> None:
        """What may happen in so many seconds: a tag moves, trouble begins, trouble ends."""
        if self.chance.random() < seconds / MOVES_EVERY * TAGS:
            self.move(self.chance.choice(sorted(self.meant)))
        if self.kind and self.clock.now >= self.trouble_until:
            self.upstream.status_for = {}
            if self.kind == "down":
                await self.upstream.up()
            self.kind = ""
            self.well_since = self.clock.now
        elif not self.kind and self.chance.random() < seconds / TROUBLE_EVERY:
            await self._trouble()

    async def _trouble(self) -> None:
        self.kind = self.chance.choice(["down", "503", "429"])
        self.troubles[self.kind] += 1
        lasts = self.chance.uniform(*TROUBLE_LASTS)
        self.trouble_until = self.clock.now + lasts
        if self.kind == "down":
            await self.upstream.down()
        else:
            self.upstream.status_for = self._refuse

    def _refuse(self, _path: str) -> Forced:
        left = max(1, math.ceil(self.trouble_until - self.clock.now))
        return Forced(int(self.kind), (("Retry-After", str(left)),) if self.kind == "429" else ())


@dataclass(slots=True)
class Found:
    """Counts of a day."""

    asked: int = 0
    fresh: int = 0
    stale: int = 0
    outdated: int = 0
    """Answers that say nothing and were older than the time to live allows."""
    never_meant: int = 0
    wrong_bytes: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    stale_without_reason: int = 0
    late: int = 0
    """Answers marked stale because this machine, not the upstream, took longer than the engine lets a client wait."""
    herds: int = 0
    herd_questions: int = 0

    def judge(self, world: World, tag: str, reply: Reply, before: float, *, trouble: bool) -> None:
        """Count one answer that was asked for at `before`, by the engine's clock."""
        self.asked += 1
        if reply.status != 200:
            self.refused[reply.status] += 1
            return
        digest = str(reply.header("Docker-Content-Digest"))
        self.wrong_bytes += Digest.of(reply.body) != digest
        self.never_meant += digest not in world.could_mean(tag, 0.0)
        if reply.header("Warning") is not None:
            self.stale += 1
            late = reply.first_byte_after >= STALE_AFTER
            self.late += late
            self.stale_without_reason += not trouble and not late
        else:
            self.fresh += 1
            self.outdated += digest not in world.could_mean(tag, before - TTL)


RECOVERED_AFTER = 61.0
"""The longest cool-down of the breaker, and a moment."""


async def ask(world: World, found: Found, port: int, tag: str) -> None:
    """One client asks for one tag."""
    before = world.clock.now
    trouble = bool(world.kind) or before < world.well_since + RECOVERED_AFTER
    reply = await request(port, "GET", f"/v2/library/app/manifests/{tag}")
    found.judge(world, tag, reply, before, trouble=trouble)


async def herd(world: World, found: Found, port: int) -> None:
    """Many clients ask for a tag that has just expired."""
    tag = world.chance.choice(sorted(world.meant))
    await world.clock.pass_on(TTL + 1)
    if world.kind:
        return
    before = world.upstream.count("HEAD", f"/manifests/{tag}")
    await asyncio.gather(*(ask(world, found, port, tag) for _ in range(HERD)))
    found.herds += 1
    found.herd_questions += world.upstream.count("HEAD", f"/manifests/{tag}") - before


async def live(world: World, found: Found, port: int, hours: float) -> None:
    """Let the hours pass."""
    clock, chance = world.clock, world.chance
    end, next_herd = clock.now + hours * 3600, clock.now + 3600
    while clock.now < end:
        seconds = chance.uniform(*STEP)
        await clock.pass_on(seconds)
        await world.happen(seconds)
        tags = chance.sample(sorted(world.meant), chance.choice([1, 1, 2, 3]))
        await asyncio.gather(*(ask(world, found, port, tag) for tag in tags))
        if clock.now >= next_herd:
            next_herd += 3600
            await herd(world, found, port)


def used(store: Path) -> tuple[int, int]:
    """Bytes of the index and of the journal."""
    index = sum(path.stat().st_size for path in store.glob("index.sqlite*"))
    return index, (store / "names.jsonl").stat().st_size


async def run(scratch: Path, *, hours: float = HOURS) -> Sequence[Figure]:
    """A day; what grows is looked at after the first hour and at the end."""
    clock, found, store = VirtualClock(), Found(), scratch / "store"
    async with FakeRegistry() as upstream:
        world = World(upstream, clock, random.Random(24))
        for number in range(TAGS):
            world.move(f"t{number}")
        settings = EngineSettings(
            store,
            (UpstreamSettings("docker.io", upstream.url),),
            (Listener("docker.io", "127.0.0.1", 0),),
            tag_ttl=TTL,
        )
        async with running_engine(settings, clock) as running:
            port = running.listeners.list()[0].port
            await live(world, found, port, 1)
            early = (*used(store), world.moves, len(asyncio.all_tasks()))
            await live(world, found, port, hours - 1)
            if world.kind == "down":
                await upstream.up()
            world.upstream.status_for = {}
            return figures(world, found, running, early, hours)


def figures(
    world: World, found: Found, running: RunningEngine, early: tuple[int, int, int, int], hours: float
) -> list[Figure]:
    """The table."""
    heads = world.upstream.count("HEAD", "/manifests/")
    index, journal = used(running.store.root)
    moved = world.moves - early[2]
    # Each tag at most once in its time to live; what trouble made to be asked again comes on top.
    most = int(TAGS * hours * 3600 / TTL)
    return [
        told("virtual hours, tags, time to live", f"{hours:g}, {TAGS}, {TTL:.0f} s"),
        told("tags moved, troubles of the upstream", f"{world.moves - TAGS}, {dict(world.troubles)}"),
        told("answers: fresh, marked stale, refused", f"{found.fresh}, {found.stale}, {dict(found.refused) or 0}"),
        at_most("HEADs to the upstream", heads, most),
        told("GETs of manifests from the upstream", world.upstream.count("GET", "/manifests/")),
        none_of("unmarked answers older than the time to live", found.outdated),
        none_of("answers that the tag had never meant", found.never_meant),
        none_of("answers whose bytes have another digest", found.wrong_bytes),
        none_of("answers marked stale although the upstream was well", found.stale_without_reason),
        told(f"answers marked stale because this machine took {STALE_AFTER} s for one", found.late),
        none_of("refused answers for known tags", found.refused.total()),
        at_most(
            f"HEADs for {found.herds} herds of {HERD} clients on an expired tag", found.herd_questions, found.herds
        ),
        told("index and journal after an hour", f"{size(early[0])}, {early[1] // 1024} KiB"),
        told("index and journal at the end", f"{size(index)}, {journal // 1024} KiB"),
        at_most("bytes of journal for each move", (journal - early[1]) / max(1, moved), 2048),
        at_most("tasks more than after an hour", len(asyncio.all_tasks()) - early[3], 0),
    ]


DAY = Scenario(
    name="day",
    title=f"{HOURS} hours of tags, in virtual time",
    method=(
        f"{TAGS} tags, each of which moves about every {MOVES_EVERY / 60:.0f} minutes, are asked for every few "
        f"seconds for {HOURS} hours of the engine's clock, {HERD} times at once when the hour is full. About every "
        f"{TROUBLE_EVERY / 60:.0f} minutes the upstream is down, answers 503 or answers 429 for up to "
        f"{TROUBLE_LASTS[1] / 60:.0f} minutes. Each answer is compared with what the tag meant at the time."
    ),
    run=run,
    needs=Needs(disk=256 << 20, memory=512 << 20),
    guarantees=(
        (
            f"The engine marks a tag as stale if it is older than its time to live ({TTL:.0f} s here), and only "
            "while the upstream does not answer. It asks once, however many clients wait. What it keeps of tags "
            "grows with their moves, not with time."
        ),
    ),
    limits=(
        (
            "Time limits of single requests run on the machine's clock, so an upstream that hangs is not part of "
            "this day; the tests in tests/engine have those."
        ),
    ),
)
