from collections import deque
from dataclasses import replace

import pytest

from obol.machine.tasks import spawn
from obol.oci.errors import BLOB_UNKNOWN, UNAVAILABLE, UPSTREAM_BROKEN
from obol.oci.references import Digest
from obol.registry.control.api import Problem
from obol.registry.engine.answers import StoredBlob
from obol.registry.policy import retry
from obol.registry.policy.health import Hold
from obol.registry.store.ports import ContentKind, Grant, RepositoryKey, transfer_id
from obol.registry.transfers import download as fetch_module
from obol.registry.upstream.ports import (
    Absent,
    Denied,
    Misbehaved,
    OnHold,
    RangesRefused,
    RateLimited,
    Unavailable,
    UpstreamError,
)
from tests.fakes.content import blob as make_blob
from tests.fakes.store import MemoryStore
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually
from tests.unit.registry.world import DATA, DIGEST, FILL, REPOSITORY, WHOLE, Got, World, one_blob, take, world

SMALL, SMALL_DATA = make_blob(1200, "small")
REPO = RepositoryKey("registry.test", REPOSITORY)
KNOWN = [
    Grant(Digest(DIGEST), ContentKind.BLOB, "", len(DATA)),
    Grant(Digest(SMALL), ContentKind.BLOB, "", len(SMALL_DATA)),
]


async def with_left_over(data: bytes) -> MemoryStore:
    """A store in which an earlier transfer left something."""
    store = MemoryStore()
    partial = await store.partials.open(transfer_id(Digest(DIGEST), "registry.test"))
    await partial.write(0, data)
    await partial.checkpoint(len(data))
    partial.close()
    return store


async def test_segments() -> None:
    """A large blob comes over several connections, every byte once, and is kept."""
    one, blob = one_blob()
    async with world(one) as w:
        assert await w.got() == WHOLE
        assert await w.stored()
        assert (await w.store.partials.usage()).count == 0

    assert blob.sent == len(DATA)
    assert len(blob.streams) == 10
    assert one.connections.most == FILL.connections_per_fill
    assert one.connections.taken == 0
    assert all(stream.closed for stream in blob.streams)


async def test_small_blob() -> None:
    """A small blob whose size is known is one plain GET."""
    one = FakeUpstream()
    one.add_blob(REPOSITORY, SMALL, SMALL_DATA)
    async with world(one) as w:
        await w.store.metadata.add_grants(REPO, KNOWN)

        assert (await w.got(SMALL)).data == SMALL_DATA
    assert [asked.span for asked in one.asked if asked.method == "open"] == [None]


async def test_empty_blob() -> None:
    """A blob of no bytes is a blob like any other."""
    one = FakeUpstream()
    empty = Digest.of(b"")
    one.add_blob(REPOSITORY, empty, b"").ranges = False
    async with world(one) as w:
        assert await w.got(empty) == Got(b"", complete=True)
        assert await w.stored(empty)


async def test_sha512() -> None:
    """A blob is verified and kept under the algorithm that it was asked by."""
    one = FakeUpstream()
    digest = Digest.of(DATA, "sha512")
    one.add_blob(REPOSITORY, digest, DATA)
    async with world(one) as w:
        assert (await w.got(digest)).complete
        assert await w.stored(digest)


async def test_resumed_after_cuts() -> None:
    """Where the upstream cuts, the rest is asked for from there; followers notice nothing."""
    one, blob = one_blob()
    blob.cuts = deque([300, 700, None, 10])
    async with world(one) as w:
        assert await w.got() == WHOLE

    assert blob.sent == len(DATA)
    assert one.connections.taken == 0


async def test_plain_transfer_resumed() -> None:
    """A plain GET that is cut is taken up again: what comes twice is passed over."""
    one, blob = one_blob()
    blob.ranges = False
    blob.cuts = deque([4000])
    async with world(one) as w:
        assert await w.got() == WHOLE

    assert len(blob.streams) == 2


async def test_given_up() -> None:
    """An upstream that brings nothing again and again is given up: followers are cut, what came is kept."""
    one, blob = one_blob()
    blob.failing_at = 5000
    async with world(one) as w:
        answer = await w.got()
        assert not answer.complete
        assert DATA.startswith(answer.data)
        assert not await w.stored()
        assert (w.scope.counters.transfers.failed, w.scope.counters.transfers.corrupt) == (1, 0)
        blob.failing_at = None
        before = blob.sent

        assert await w.got() == WHOLE
        assert blob.sent - before <= len(DATA) - 5000 + FILL.segment * FILL.connections_per_fill
    assert one.connections.taken == 0


async def test_progress_is_rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of cuts is borne as long as each attempt brings something."""
    monkeypatch.setattr(fetch_module, "PROGRESS", 100)
    one, blob = one_blob()
    blob.cuts = deque([600] * 12)
    async with world(one, fill=replace(FILL, connections_per_fill=1)) as w:
        assert await w.got() == WHOLE


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (Absent("gone"), BLOB_UNKNOWN),
        (Denied("private"), BLOB_UNKNOWN),
        (Unavailable("down"), UPSTREAM_BROKEN),
        (Misbehaved("html"), UPSTREAM_BROKEN),
        (RateLimited(30.0), UNAVAILABLE),
        (OnHold(Hold(30.0, Problem.FAILING)), UNAVAILABLE),
    ],
)
async def test_refused_at_once(problem: UpstreamError, kind: object) -> None:
    """Before the first byte, an error status tells of trouble."""
    one, _ = one_blob()
    one.problems["open"] = problem
    async with world(one) as w:
        assert (await w.refused()).kind is kind
    assert one.connections.taken == 0


@pytest.mark.parametrize("problem", [RateLimited(0.05), OnHold(Hold(0.05, Problem.RATE_LIMITED))])
async def test_short_hold_is_waited_for(problem: UpstreamError) -> None:
    """A hold that ends soon is waited for, for the sake of clients without a second source."""
    one, blob = one_blob()
    blob.open_problems = deque([problem])
    async with world(one) as w:
        assert await w.got() == WHOLE
        assert w.clock.sleeps[0] == 0.05


async def test_no_slot() -> None:
    """Where no connection is free for too long, the transfer fails as if the upstream were down."""
    one, _ = one_blob()
    one.connections.problem = Unavailable("too many")
    async with world(one) as w:
        assert (await w.refused()).kind is UPSTREAM_BROKEN


async def test_ranges_refused() -> None:
    """An upstream that turns out to lie about ranges is asked for everything, without one."""
    one, blob = one_blob()
    blob.open_problems = deque([None, RangesRefused("wrong start")])
    async with world(one) as w:
        assert await w.got() == WHOLE
    assert blob.streams[-1].ranged is False
    assert one.connections.taken == 0


async def test_a_range_that_fails_at_first_is_given_up() -> None:
    """A store may answer ranges with any error: where none has come yet, the blob is asked for without one."""
    one, blob = one_blob()
    blob.open_problems = deque([Unavailable("the upstream answered 502")])
    async with world(one) as w:
        assert await w.got() == WHOLE
    assert [stream.ranged for stream in blob.streams] == [False]


async def test_ranges_refused_without_any() -> None:
    """An upstream that refuses even a plain GET that way is broken."""
    one, _ = one_blob()
    one.problems["open"] = RangesRefused("nonsense")
    async with world(one) as w:
        assert (await w.refused()).kind is UPSTREAM_BROKEN


async def test_nonsense_midway() -> None:
    """An answer that cannot be believed ends a transfer at once, in the middle, too; nothing of it is kept."""
    one, blob = one_blob()
    blob.failing_at, blob.problem = 5000, Misbehaved("too many bytes")
    async with world(one) as w:
        assert not (await w.got()).complete
        assert (await w.store.partials.usage()).count == 0
    assert one.connections.taken == 0


@pytest.mark.parametrize("ranges", [True, False])
async def test_size_not_told(ranges: bool) -> None:
    """An upstream that does not say how long the blob is, is asked for all of it, and its end is the end."""
    one, blob = one_blob()
    blob.total = None
    blob.ranges = ranges
    async with world(one) as w:
        assert await w.got() == WHOLE
        assert await w.stored()


async def test_another_size() -> None:
    """A blob that is not as long as its descriptor says is refused before a byte is served."""
    one, _ = one_blob(data=DATA + b"!")
    async with world(one) as w:
        await w.store.metadata.add_grants(REPO, KNOWN)

        assert (await w.refused()).kind is UPSTREAM_BROKEN
        assert not await w.stored()


@pytest.mark.parametrize("at", [0, 4000, len(DATA) - 1])
async def test_wrong_byte(at: int) -> None:
    """A single wrong byte: no client gets everything, nothing is kept, and the next request starts afresh, plainly."""
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    one, blob = one_blob(data=bytes(wrong))
    async with world(one) as w:
        answer = await w.got()
        assert not answer.complete
        assert len(answer.data) <= len(DATA) - FILL.withhold
        assert not await w.stored()
        assert (await w.store.partials.usage()).count == 0
        assert w.scope.counters.transfers.corrupt == 1
        blob.data = DATA

        assert await w.got() == WHOLE
    assert blob.streams[-1].ranged is False


@pytest.mark.parametrize(
    ("data", "total", "ranges"),
    [(DATA + b"more", None, True), (DATA[:-1], None, True), (DATA + b"more", len(DATA), False)],
)
async def test_wrong_length(data: bytes, total: int | None, ranges: bool) -> None:
    """A byte too many or too few is as wrong as a wrong byte, with the right length told or none."""
    one, blob = one_blob(data=data)
    blob.total, blob.ranges = total, ranges
    async with world(one) as w:
        assert not (await w.got()).complete
        assert not await w.stored()


async def test_crowded() -> None:
    """A transfer with several connections gives them back while there are too many."""
    one, blob = one_blob()
    async with world(one) as w:
        blob.hold(3900)
        answer = await w.blob(DIGEST)
        reading = spawn(take(answer), name="client")
        await eventually(lambda: one.connections.taken > 1)
        one.connections.wanted_by_others = True
        blob.let_go()

        assert (await reading).complete
        await w.idle()
    assert one.connections.taken == 0
    assert len(blob.streams) < 14


async def test_resumed_after_restart() -> None:
    """What an earlier process left is not fetched again, but hashed again."""
    store = await with_left_over(DATA[:5000])
    one, blob = one_blob()
    async with world(one, store=store) as w:
        answer = await w.blob(DIGEST)
        assert not isinstance(answer, StoredBlob)
        assert await take(answer) == WHOLE
        assert answer.held == 5000

    assert blob.sent == len(DATA) - 5000


async def test_damaged_partial() -> None:
    """A damaged left-over is found out; then everything is fetched anew."""
    store = await with_left_over(bytes(5000))
    one, _ = one_blob()
    async with world(one, store=store) as w:
        assert not (await w.got()).complete
        assert await w.got() == WHOLE


async def test_complete_partial() -> None:
    """A left-over that has all bytes already needs no more from the upstream than its word."""
    store = await with_left_over(DATA)
    one, blob = one_blob()
    async with world(one, store=store) as w:
        await store.metadata.add_grants(REPO, KNOWN)
        assert await w.got() == WHOLE
    assert blob.sent == 0


async def test_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large blob that no client follows for long enough is given up, and what has come is kept."""
    monkeypatch.setattr(retry, "SMALL", 1000)
    one, blob = one_blob()
    blob.hold(2000)
    async with world(one) as w:
        with pytest.raises(TimeoutError):
            await _glance(w)
        w.clock.advance(61.0)
        blob.let_go()
        await w.idle()

        assert not await w.stored()
        assert (await w.store.partials.usage()).count == 1
        assert await w.got() == WHOLE


async def test_abandoned_near_its_end() -> None:
    """A blob of which little is missing is fetched to its end, though no client follows."""
    one, blob = one_blob()
    blob.hold(2000)
    async with world(one) as w:
        with pytest.raises(TimeoutError):
            await _glance(w)
        w.clock.advance(61.0)
        blob.let_go()
        await eventually(lambda: w.engine.transfers == 0)

        assert await w.stored()


async def _glance(w: World) -> None:
    answer = await w.blob(DIGEST)
    assert not isinstance(answer, StoredBlob)
    with answer:
        await answer.opened(0)
        raise TimeoutError
