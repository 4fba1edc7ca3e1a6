import asyncio

import pytest

from obol.machine.tasks import spawn
from obol.oci.errors import BLOB_UNKNOWN, UNAVAILABLE, UPSTREAM_BROKEN, OciError
from obol.oci.references import Digest, Repository
from obol.registry.control.api import Problem
from obol.registry.engine import blobs as blobs_module
from obol.registry.engine.answers import StoredBlob
from obol.registry.policy.health import Hold
from obol.registry.store.ports import ContentKind, Grant, RepositoryKey, StoreError
from obol.registry.upstream.ports import Absent, Denied, Unavailable
from tests.fakes.content import blob as make_blob
from tests.fakes.store import MemoryStore
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually
from tests.unit.registry.world import DATA, DIGEST, FILL, REPOSITORY, WHOLE, one_blob, take, world

OTHER = Repository("other/app")
REPO = RepositoryKey("registry.test", REPOSITORY)
LIMITED = Hold(29.0, Problem.RATE_LIMITED)


async def test_single_flight() -> None:
    """A hundred clients of a cold blob: one transfer, every byte once, and all have it whole."""
    one, blob = one_blob()
    async with world(one) as w:
        answers = await asyncio.gather(*(w.follow() for _ in range(100)))
        assert w.engine.transfers == 1
        assert all(got == WHOLE for got in await asyncio.gather(*(take(answer) for answer in answers)))

    assert blob.sent == len(DATA)
    assert [answer.joined for answer in answers] == [False] + [True] * 99


async def test_stored() -> None:
    """A blob that is held is given from the store; its upstream is not asked, even if it fails."""
    one, _ = one_blob()
    async with world(one) as w:
        await w.pull(DIGEST)
        await w.idle()
        asked = one.requests
        one.hold = LIMITED

        assert isinstance(await w.blob(DIGEST), StoredBlob)
        assert await w.size(DIGEST) == len(DATA)
        assert one.requests == asked


async def test_first_client_leaves() -> None:
    """The first client goes away in the middle: the others have the whole, it is kept, and fetched once."""
    one, blob = one_blob()
    async with world(one) as w:
        first, second = await w.client(blob, 2000), await w.client(blob, 2000)
        first.cancel()
        await asyncio.sleep(0.001)
        blob.let_go()

        assert await second == WHOLE
        await w.idle()
        assert isinstance(await w.blob(DIGEST), StoredBlob)
    assert blob.sent == len(DATA)


async def test_part_after_a_failure() -> None:
    """For a while after a failed transfer a part is refused, so that the client takes the rest elsewhere."""
    one, blob = one_blob()
    blob.failing_at = 5000
    async with world(one) as w:
        await take(await w.follow())
        await w.idle()
        blob.failing_at = None

        assert (await w.refused(part=True)).kind is UPSTREAM_BROKEN
        w.clock.advance(blobs_module.FAILURE_SECONDS)
        assert await take(await w.blob(DIGEST, part=True)) == WHOLE


async def test_failures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than some failures are remembered, and none that says that the blob is absent."""
    monkeypatch.setattr(blobs_module, "REMEMBERED_FAILURES", 2)
    one = FakeUpstream()
    digests = [make_blob(100, f"bad {number}")[0] for number in range(4)]
    for digest in digests[:3]:
        one.add_blob(REPOSITORY, digest, bytes(100))
    async with world(one) as w:
        for digest in digests:
            with pytest.raises(OciError):
                await take(await w.blob(digest))
            await w.idle()

        kept = [w.engine.blobs._failures.get(("registry.test", Digest.parse(digest))) for digest in digests]
        assert [failure is not None for failure in kept] == [False, True, True, False]


async def test_unrelated_repository() -> None:
    """A blob that is held is not given in a repository that does not have it, and only that one is asked about."""
    one, _ = one_blob()
    async with world(one) as w:
        await w.pull(DIGEST)
        await w.idle()

        assert (await w.refused(OTHER)).kind is BLOB_UNKNOWN
        with pytest.raises(OciError):
            await w.size(DIGEST, repository=OTHER)
    assert {asked.repository for asked in one.asked if asked.method == "head_blob"} == {OTHER}


async def test_confirmed_repository() -> None:
    """Where the upstream confirms it, a held blob is given in another repository, without another transfer."""
    one, blob = one_blob(OTHER)
    async with world(one) as w:
        await w.pull(DIGEST)
        await w.idle()
        for _ in range(3):
            assert isinstance(await w.blob(DIGEST, repository=OTHER), StoredBlob)

    assert (one.count("head_blob"), blob.sent) == (1, len(DATA))


async def test_unrelated_repository_joins() -> None:
    """A repository without the blob cannot join another's transfer, which goes on."""
    one, blob = one_blob()
    async with world(one) as w:
        first = await w.client(blob, 2000)

        assert (await w.refused(OTHER)).kind is BLOB_UNKNOWN
        blob.let_go()
        assert await first == WHOLE


async def test_confirmed_repository_joins() -> None:
    """A repository that has the blob too joins another's transfer once that is known."""
    one, blob = one_blob(OTHER)
    async with world(one) as w:
        first = await w.client(blob, 2000)
        answer = await w.follow(repository=OTHER)
        second = spawn(take(answer), name="second")
        await asyncio.sleep(0.001)
        blob.let_go()

        assert (await first, await second, answer.joined) == (WHOLE, WHOLE, True)
    assert blob.sent == len(DATA)


async def test_join_by_right() -> None:
    """A repository whose manifest names the blob, with the same size, joins without asking."""
    one, blob = one_blob(OTHER)
    async with world(one) as w:
        for repository in (REPOSITORY, OTHER):
            grant = Grant(Digest(DIGEST), ContentKind.BLOB, "", len(DATA))
            await w.store.metadata.add_grants(RepositoryKey("registry.test", Repository(repository)), [grant])
        first = await w.client(blob, 2000)
        second = spawn(take(await w.follow(repository=OTHER)), name="second")
        await asyncio.sleep(0.001)
        blob.let_go()

        assert (await first, await second) == (WHOLE, WHOLE)
    assert one.count("head_blob") == 0


async def test_joining_what_does_not_begin() -> None:
    """Another repository's transfer that the upstream does not answer in time is not followed."""
    one, _ = one_blob(OTHER)
    one.gates["open"] = asyncio.Event()
    async with world(one) as w:
        grant = Grant(Digest(DIGEST), ContentKind.BLOB, "", None)
        await w.store.metadata.add_grants(RepositoryKey("registry.test", OTHER), [grant])
        await w.follow()

        with pytest.raises(OciError) as refusal:
            await w.follow(repository=OTHER)

        assert refusal.value.kind is UPSTREAM_BROKEN


async def test_transfer_ends_while_joining() -> None:
    """A transfer that ends while another repository's right is asked about has become a stored blob."""
    one, blob = one_blob(OTHER)
    async with world(one) as w:
        first = await w.client(blob, 2000)
        gate = one.gates["head_blob"] = asyncio.Event()
        second = spawn(w.blob(DIGEST, repository=OTHER), name="second")
        await eventually(lambda: one.count("head_blob") == 1)
        blob.let_go()
        await first
        await w.idle()
        gate.set()

        assert await take(await second) == WHOLE
    assert blob.sent == len(DATA)


async def test_many_join_what_fails() -> None:
    """When a transfer is refused to one repository, all who joined from another one share a single new transfer."""
    one = FakeUpstream()
    theirs = one.add_blob(REPOSITORY, DIGEST, DATA)
    ours = one.add_blob(OTHER, DIGEST, DATA)
    theirs.open_problems.append(Denied("not you"))
    async with world(one) as w:
        await w.store.metadata.add_grants(
            RepositoryKey("registry.test", OTHER), [Grant(Digest(DIGEST), ContentKind.BLOB, "", None)]
        )
        gate = one.gates["open"] = asyncio.Event()
        first = spawn(w.refused(), name="first")
        await eventually(lambda: one.count("open") == 1)

        async def pull() -> bytes:
            return await w.pull(DIGEST, repository=OTHER)

        others = [spawn(pull(), name="other") for _ in range(5)]
        await asyncio.sleep(0.01)
        gate.set()

        assert (await first).kind is BLOB_UNKNOWN
        assert await asyncio.gather(*others) == [DATA] * 5
    assert ours.sent == len(DATA)


async def test_right_after_the_first_transfer() -> None:
    """The upstream's answer is a grant: the next client of the repository does not ask again."""
    one, _ = one_blob()
    async with world(one) as w:
        await w.pull(DIGEST)
        await w.idle()

        assert await w.store.metadata.grant(REPO, Digest(DIGEST), ContentKind.BLOB) is not None
        assert await w.pull(DIGEST) == DATA
    assert one.count("head_blob") == 0


async def test_grant_that_cannot_be_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the grant cannot be written down the client has its blob all the same."""
    one, _ = one_blob()
    async with world(one) as w:

        async def fail(*_: object) -> None:
            raise StoreError("full", full=True)

        monkeypatch.setattr(w.store.metadata, "add_grants", fail)

        assert await w.pull(DIGEST) == DATA


async def test_broken_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that cannot be read is 503, for GET and for HEAD."""
    one, _ = one_blob()
    async with world(one) as w:

        async def fail(repo: RepositoryKey, digest: Digest, kind: ContentKind) -> None:
            raise StoreError("broken")

        monkeypatch.setattr(w.store.metadata, "grant", fail)

        assert (await w.refused()).kind is UNAVAILABLE
        with pytest.raises(OciError):
            await w.size(DIGEST)


async def test_cold_on_hold() -> None:
    """While the upstream is left alone for long, a cold blob is refused at once."""
    one, _ = one_blob()
    one.hold = LIMITED
    async with world(one) as w:
        refusal = await w.refused()

    assert (refusal.kind, refusal.retry_after, one.requests) == (UNAVAILABLE, 29, 0)


async def test_cold_on_short_hold() -> None:
    """A hold that ends within the patience of a client is left to the transfer to wait for."""
    one, _ = one_blob()
    one.hold = Hold(0.1, Problem.FAILING)
    async with world(one) as w:
        assert await w.pull(DIGEST) == DATA


async def test_offline() -> None:
    """Offline, a blob that is not held is absent."""
    one, _ = one_blob()
    async with world(one, offline=True) as w:
        assert (await w.refused()).kind is BLOB_UNKNOWN
        with pytest.raises(OciError):
            await w.size(DIGEST)
    assert one.requests == 0


@pytest.mark.parametrize("data", [DATA, b""])
async def test_cold_head(data: bytes) -> None:
    """HEAD of a cold blob, an empty one too, tells its size and fetches nothing."""
    one, digest = FakeUpstream(), Digest.of(data)
    blob = one.add_blob(REPOSITORY, digest, data)
    async with world(one) as w:
        assert await w.size(digest) == len(data)
        assert w.engine.transfers == 0
    assert not blob.streams


async def test_head_of_a_silent_upstream() -> None:
    """Where the upstream does not tell the size, the descriptor's counts; without one HEAD cannot be answered."""
    one, _ = one_blob()
    one.size_told = False
    async with world(one) as w:
        with pytest.raises(OciError) as refusal:
            await w.size(DIGEST)
        assert refusal.value.kind is UPSTREAM_BROKEN
        await w.store.metadata.add_grants(REPO, [Grant(Digest(DIGEST), ContentKind.BLOB, "", 77)])

        assert await w.size(DIGEST) == 77


async def test_head_of_absence() -> None:
    """HEAD of a blob that the upstream does not have is 404."""
    async with world() as w:
        with pytest.raises(OciError) as refusal:
            await w.size(DIGEST)

    assert refusal.value.kind is BLOB_UNKNOWN


@pytest.mark.parametrize("problem", [Absent("no"), Denied("no"), Unavailable("no")])
async def test_joining_is_refused(problem: Exception) -> None:
    """Whatever keeps the upstream from confirming a blob keeps a repository from joining."""
    one, blob = one_blob(OTHER)
    async with world(one) as w:
        first = await w.client(blob, 2000)
        one.problems["head_blob"] = problem  # type: ignore[assignment]  # all are UpstreamError

        assert (await w.refused(OTHER)).kind in {BLOB_UNKNOWN, UPSTREAM_BROKEN}
        blob.let_go()
        await first


async def test_throughput() -> None:
    """The time in which anything was fetched is counted once, however many transfers ran in it."""
    one, blob = one_blob()
    digest, data = make_blob(5000, "other")
    other = one.add_blob(REPOSITORY, digest, data)
    blob.hold(2000)
    other.hold(2000)
    async with world(one, fill=FILL) as w:
        clients = [spawn(take(await w.blob(name)), name="client") for name in (DIGEST, digest)]
        await eventually(lambda: blob.sent >= 2000 and other.sent >= 2000)
        w.clock.advance(4.0)
        blob.let_go()
        other.let_go()
        await asyncio.gather(*clients)
        await w.idle()

        assert w.scope.counters.transfers.seconds == pytest.approx(4.0, abs=0.5)
        assert w.scope.counters.transfers.fetched == len(DATA) + len(data)


async def test_content_lost_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that is lost between two looks is fetched."""
    one, _ = one_blob()
    store = MemoryStore()
    await store.content.put(Digest(DIGEST), DATA)

    async def lost(digest: Digest) -> None:
        return None

    monkeypatch.setattr(store.content, "open", lost)
    async with world(one, store=store) as w:
        assert await take(await w.follow()) == WHOLE
