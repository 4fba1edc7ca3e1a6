"""What the engine says that it sent, held against what clients received."""

import asyncio
from collections import Counter

from msgspec.structs import asdict

from tests.engine.conftest import Cache, HandClock, Start
from tests.fakes.content import digest_of, make_image
from tests.fakes.http import Conversation, Reply, talk
from tests.limits import eventually

IMAGE = make_image(3000, 70_000, 2_000_000, 6_000_000, seed=40)
OTHER = make_image(400_000, seed=41)
SMALL, MEDIUM, LARGE, LARGEST = (f"/v2/library/app/blobs/{digest}" for digest in IMAGE.layers)
CUT = f"/v2/library/app/blobs/{OTHER.layers[0]}"
TAG, TOP, TAGS = "/v2/library/app/manifests/1", f"/v2/library/app/manifests/{IMAGE.top}", "/v2/library/app/tags/list"
OUTCOMES = ("hit", "miss", "stale", "error")
WARM: list[tuple[str, str] | tuple[str, str, tuple[str, str]]] = [
    ("GET", TAG),
    ("HEAD", TAG),
    ("GET", TOP, ("If-None-Match", f'"{IMAGE.top}"')),
    ("GET", SMALL),
    ("HEAD", SMALL),
    ("GET", MEDIUM),
    ("GET", LARGE),
    ("HEAD", LARGE),
    ("GET", LARGE, ("Range", "bytes=1000000-1499999")),
    ("GET", LARGE, ("Range", "bytes=9000000-")),
    ("GET", LARGE, ("If-None-Match", f'"{IMAGE.layers[2]}"')),
    ("GET", TAGS),
    ("HEAD", TAGS),
    ("GET", f"/v2/library/app/referrers/{IMAGE.top}"),
    ("GET", "/v2/library/app/manifests/none"),
    ("GET", f"/v2/library/app/blobs/{digest_of(b'none')}"),
    ("GET", "/v2/BAD/manifests/1"),
    ("PUT", TAG),
]


class Ledger:
    """What clients received, added up."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.requests: Counter[str] = Counter()
        self.bytes_from_cache = 0

    async def ask(self, method: str, target: str, *headers: tuple[str, str]) -> Reply:
        """One request of a client that waits for its answer."""
        reply = await self._cache.get(target, *headers, method=method)
        self.enter(reply)
        return reply

    def enter(self, reply: Reply) -> None:
        """Add an answer. What does not say where it comes from (304, a HEAD of a blob) is held in these tests."""
        marked = reply.header("Obol-Cache") or "hit"
        outcome = {"filling": "hit", "revalidated": "hit"}.get(marked, marked)
        if reply.status >= 400:
            outcome = "error"
        self.requests[outcome] += 1
        if outcome in {"hit", "stale"}:
            self.bytes_from_cache += len(reply.body)

    async def repeat(self, target: str, times: int) -> None:
        """The same bytes again and again, on one connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._cache.port)
        for _ in range(times):
            writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            conversation = Conversation(reader, "GET", 0.0)
            await conversation.head()
            body, complete = await conversation.body()
            self.enter(Reply(conversation.status, conversation.headers, body, complete, 0.0))
        writer.close()

    async def agrees(self, more: int = 0) -> None:
        """Hold it against the status, and against the metrics; `more`: what clients that left may have been sent."""
        # An answer is counted when it has been sent, and its client may have it a moment before.
        counters = self._cache.running.engine.scopes.find(None, "docker.io").counters
        expected = {outcome: self.requests[outcome] for outcome in OUTCOMES}
        await eventually(lambda: all(getattr(counters, outcome) == expected[outcome] for outcome in OUTCOMES))
        (told,) = (await self._cache.running.status()).upstreams
        assert asdict(told.requests) == expected
        assert self.bytes_from_cache <= told.bytes_from_cache <= self.bytes_from_cache + more
        lines = (await self._cache.get("/metrics")).body.decode().splitlines()
        page = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
        assert page['obol_cache_served_bytes_total{registry="docker.io"}'] == told.bytes_from_cache
        for outcome in OUTCOMES:
            counted = page[f'obol_cache_requests_total{{outcome="{outcome}",registry="docker.io"}}']
            assert counted == self.requests[outcome]


async def test_every_answer_is_counted_as_it_was_received(start: Start) -> None:
    """Heads, lists, parts, errors and ready answers to several clients at once add up, to the byte."""
    clock = HandClock()
    async with start.over(IMAGE, clock=clock) as (upstream, cache):
        ledger = Ledger(cache)
        # Cold, where the first client of a blob brings it and the others join.
        await ledger.ask("GET", TAG)
        await asyncio.gather(*(ledger.ask("GET", target) for target in (SMALL, MEDIUM, LARGE) * 4))
        await cache.settled()
        await ledger.agrees()

        async def client() -> None:
            for method, target, *headers in WARM:
                await ledger.ask(method, target, *headers)

        await asyncio.gather(*(client() for _ in range(4)))
        await asyncio.gather(*(ledger.repeat(target, 20) for target in (TAG, TOP, SMALL)))
        await ledger.agrees()

        clock.advance(61.0)
        await upstream.down()
        for target in (TAG, TAGS, LARGE, "/v2/library/app/manifests/2", LARGEST, "/v2/library/app/manifests/3"):
            await ledger.ask("GET", target)
        await ledger.agrees()

    assert all(ledger.requests[outcome] for outcome in OUTCOMES)


async def test_answers_that_are_cut_count_for_what_was_sent(start: Start) -> None:
    """Clients whose body is cut count for what they received; those that leave for what they may have received."""
    async with start.over(IMAGE) as (upstream, cache):
        upstream.add("library/app", "2", OTHER)
        ledger = Ledger(cache)
        await ledger.ask("GET", LARGEST)
        await cache.settled()
        path = cache.root / "blobs"
        held = next(path.rglob(IMAGE.layers[3].removeprefix("sha256:")))
        for taken in (1, 100_000, 3_000_000):
            async with talk(cache.port, "GET", LARGEST) as leaving:
                await leaving.head()
                got = await leaving.exactly(taken)
            ledger.requests["hit"] += 1
            ledger.bytes_from_cache += len(got)
        await ledger.agrees(more=3 * held.stat().st_size)

        upstream.repositories["library/app"].blobs[OTHER.layers[0]] = bytes(400_000)
        before = ledger.bytes_from_cache, (await cache.running.status()).upstreams[0].bytes_from_cache
        replies = await asyncio.gather(*(ledger.ask("GET", CUT) for _ in range(4)))
        await cache.settled()
        assert not any(reply.complete for reply in replies)
        await ledger.agrees(more=3 * held.stat().st_size)
        after = ledger.bytes_from_cache, (await cache.running.status()).upstreams[0].bytes_from_cache

    assert after[0] - before[0] == after[1] - before[1]
