from dataclasses import dataclass, field, replace

import pytest

from obol.client.blobs import SMALL, BlobPull, pause
from obol.client.ports import BytesFrom, Kind, Refused
from obol.client.session import Lost
from obol.oci.manifests import Descriptor
from obol.oci.references import Digest, Repository
from tests.fakes import behaviours
from tests.fakes.behaviours import Behaviour
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.fakes.hostile import HostileRegistry
from tests.fakes.registry import FakeRegistry, Forced
from tests.fakes.registry import Repository as Shelf
from tests.unit.client.reach import LIMITS, Basket, FakeCache, client_of

APP = Repository("team/app")
NAME, DATA = make_blob(300_000)
DIGEST = Digest(NAME)
BLOB = Descriptor("", DIGEST, len(DATA))


@dataclass
class Counted:
    """What a pull counted, and the pauses that it made."""

    bytes: dict[BytesFrom, int] = field(default_factory=lambda: dict.fromkeys(BytesFrom, 0))
    clock: FakeClock = field(default_factory=FakeClock)

    def count(self, count: int, source: BytesFrom) -> None:
        assert count > 0
        self.bytes[source] += count

    @property
    def both(self) -> tuple[int, int]:
        """From the cache, and from the upstream."""
        return self.bytes[BytesFrom.CACHE], self.bytes[BytesFrom.UPSTREAM]


async def bring(
    registry: FakeRegistry, sink: Basket | None = None, blob: Descriptor = BLOB, counted: Counted | None = None
) -> Counted:
    """Pull the blob."""
    counted = counted or Counted()
    registry.repositories.setdefault(APP, Shelf(blobs={NAME: DATA}))
    async with client_of(registry.url, clock=counted.clock) as client:
        await BlobPull(client, APP, blob, counted.count, sink).run()
    return counted


async def test_from_a_registry() -> None:
    """All of a blob comes from a registry, and reaches the sink."""
    basket = Basket()
    async with FakeRegistry() as registry:
        counted = await bring(registry, basket)

    assert counted.both == (0, len(DATA))
    assert basket.blobs == {NAME: DATA}


async def test_empty() -> None:
    """An empty blob is a blob."""
    name, data = make_blob(0)
    async with FakeRegistry() as registry:
        registry.repositories[APP] = Shelf(blobs={name: data})

        assert (await bring(registry, blob=Descriptor("", Digest(name), 0))).both == (0, 0)


async def test_warming_a_hit() -> None:
    """What a cache holds already is not read."""
    async with FakeCache() as cache:
        cache.stored = {NAME}
        cache.gate_on, cache.cuts = "/blobs/", [0]

        assert (await bring(cache)).both == (len(DATA), 0)
        assert cache.count() == 1


async def test_reading_a_hit() -> None:
    """A sink gets what a cache holds; a small blob is read and verified in any case."""
    basket = Basket()
    small, data = make_blob(SMALL)
    async with FakeCache() as cache:
        cache.stored = {NAME, small}
        assert (await bring(cache, basket)).both == (len(DATA), 0)

        cache.repositories[APP] = Shelf(blobs={small: data[:-1] + b"!"})
        with pytest.raises(Refused, match="digest"):
            await bring(cache, blob=Descriptor("", Digest(small), SMALL))

    assert basket.blobs == {NAME: DATA}


@pytest.mark.parametrize("joined", [False, True])
async def test_what_was_there(joined: bool) -> None:
    """Of a blob that is on its way, what the cache had when we came is not from the upstream."""
    async with FakeCache() as cache:
        cache.held = 100_000
        cache.joined = {NAME} if joined else set()

        assert (await bring(cache)).both == (100_000, 200_000)


async def test_cut_and_resumed() -> None:
    """A body that is cut is taken up where it ended, each byte counted once."""
    basket = Basket()
    async with FakeCache() as cache:
        cache.held = 100_000
        cache.cuts = [70_000, 70_000, 70_000]

        counted = await bring(cache, basket)

        assert [seen.header("Range") for seen in cache.log] == [
            None,
            "bytes=70000-",
            "bytes=140000-",
            "bytes=210000-",
        ]
    assert counted.both == (100_000, 200_000)
    assert basket.blobs == {NAME: DATA}
    assert counted.clock.sleeps == [pause(0)] * 3


async def test_resumed_without_ranges() -> None:
    """Where ranges are not known, the whole comes again and what was read is passed over."""
    basket = Basket()
    async with FakeRegistry() as registry:
        registry.accept_ranges, registry.cuts = False, [70_000, 60_000]

        counted = await bring(registry, basket)

    assert counted.both == (0, len(DATA))
    assert basket.blobs == {NAME: DATA}


async def test_the_rest_is_refused() -> None:
    """A cache refuses the rest of a transfer that failed; the whole is asked for then."""
    basket = Basket()
    async with HostileRegistry() as registry:
        registry.cuts = [70_000]

        async def refuse_parts(exchange: behaviours.Exchange) -> None:
            ranged = exchange.seen.header("Range") is not None
            await exchange.say(replace(exchange.honest, status=502, body=b"") if ranged else exchange.honest)

        registry.behaviours["blob"] = refuse_parts

        await bring(registry, basket)

        assert [seen.header("Range") for seen in registry.log] == [None, "bytes=70000-", None]
    assert basket.blobs == {NAME: DATA}


async def test_stored_meanwhile() -> None:
    """A cache that was cut off and has all of it by now is not read again."""
    async with FakeCache() as cache:
        cache.cuts = [70_000]
        hits = Counted()

        def count(count: int, source: BytesFrom) -> None:
            cache.stored = {NAME}
            hits.count(count, source)

        cache.repositories[APP] = Shelf(blobs={NAME: DATA})
        async with client_of(cache.url, clock=hits.clock) as client:
            await BlobPull(client, APP, BLOB, count, None).run()

    assert hits.both == (0, len(DATA))


@pytest.mark.parametrize("behaviour", [behaviours.closed_at_once, behaviours.cut(0.0)])
async def test_given_up(behaviour: Behaviour) -> None:
    """Questions that bring nothing, again and again, are given up; the pauses between them grow."""
    counted = Counted()
    async with HostileRegistry({"blob": behaviour}) as registry:
        with pytest.raises(Lost):
            await bring(registry, counted=counted)

        # aiohttp asks once more by itself where a connection ends before any answer.
        assert registry.count() in {LIMITS.attempts, 2 * LIMITS.attempts}
    assert counted.clock.sleeps == [pause(1), pause(2)]


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (behaviours.flip("first"), "digest"),
        (behaviours.flip("last"), "digest"),
        (behaviours.extra_byte, "another length"),
        (behaviours.missing_byte, "another length"),
        (behaviours.empty, "another length"),
        (behaviours.html, "another length"),
    ],
)
async def test_wrong(behaviour: Behaviour, text: str) -> None:
    """A blob that is not what the manifest says is refused, and not asked for again."""
    async with HostileRegistry({"blob": behaviour}) as registry:
        with pytest.raises(Refused, match=text) as caught:
            await bring(registry)

        assert registry.count() == 1
    assert caught.value.kind is Kind.UNTRUSTED


async def test_longer_than_told() -> None:
    """A body without a length that does not end is left at once."""
    async with FakeRegistry() as registry:
        registry.content_length = False
        registry.repositories[APP] = Shelf(blobs={NAME: DATA + b"!"})

        with pytest.raises(Refused, match="longer"):
            await bring(registry)


async def test_refused() -> None:
    """What is absent is not asked for again."""
    async with FakeRegistry() as registry:
        registry.status_for = {"/blobs/": Forced(404)}

        with pytest.raises(Refused):
            await bring(registry)

        assert registry.count() == 1


def test_pause() -> None:
    """Pauses double, up to some seconds."""
    assert [pause(barren) for barren in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
