import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from obol.oci.errors import MANIFEST_UNKNOWN, UNAVAILABLE, UPSTREAM_BROKEN, OciError
from obol.oci.mediatypes import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from obol.oci.references import Digest
from obol.registry.control.api import Problem, Source
from obol.registry.engine.answers import HeadAnswer, ManifestAnswer
from obol.registry.policy.health import Hold
from obol.registry.upstream.ports import Absent, Denied, Misbehaved, RateLimited, Unavailable, UpstreamError
from tests.fakes.content import make_image
from tests.fakes.store import MemoryStore
from tests.fakes.upstream import FakeUpstream
from tests.unit.registry.world import REPOSITORY, World, world

IMAGE = make_image(500, seed=1, platforms=("linux/amd64", "linux/arm64"))
MOVED = make_image(500, seed=2, platforms=("linux/amd64", "linux/arm64"))
DOCKER = make_image(500, seed=3, docker=True, index=False)
OCI = make_image(500, seed=3, index=False)
BROKEN = [Unavailable("down"), RateLimited(30.0), Misbehaved("html")]


def upstream() -> FakeUpstream:
    """An upstream with one tag."""
    one = FakeUpstream()
    one.add(REPOSITORY, "v1", IMAGE)
    return one


@asynccontextmanager
async def aged() -> AsyncIterator[World]:
    """A world that knows the tag, whose time is over."""
    async with world(upstream(), tag_ttl=60.0) as w:
        await w.document("v1")
        w.clock.advance(61.0)
        yield w


async def refused(
    ask: World, reference: str, *accept: str, repository: str = REPOSITORY, head: bool = False
) -> OciError:
    """Ask for a manifest that will not be given."""
    with pytest.raises(OciError) as refusal:
        await ask.manifest(reference, *accept, repository=repository, head=head)
    return refusal.value


async def test_byte_exact() -> None:
    """A manifest leaves as it came, byte for byte, with its own media type, the first time and ever after."""
    async with world(upstream()) as w:
        cold = await w.document("v1")
        warm = await w.document("v1")

    assert (cold.source, warm.source) == (Source.MISS, Source.HIT)
    for answer in (cold, warm):
        assert (answer.body, answer.media_type, answer.digest) == (IMAGE.index.body, OCI_INDEX, IMAGE.top)


async def test_fresh_tag_asks_nobody() -> None:
    """A hundred pulls of a tag within its time cost one GET; a digest costs none, ever."""
    async with world(upstream(), tag_ttl=60.0) as w:
        await w.document("v1")
        for _ in range(100):
            await w.document("v1")
            w.clock.advance(0.5)
        w.clock.advance(1_000_000.0)
        await w.document(IMAGE.top)

    assert [asked.method for asked in w.upstream.asked] == ["get_manifest"]


async def test_unchanged_tag_costs_a_head() -> None:
    """After its time an unchanged tag costs a HEAD, which no rate limit counts, and is trusted again."""
    async with world(upstream(), tag_ttl=60.0) as w:
        await w.document("v1")
        w.clock.advance(60.0)
        again = await w.document("v1")
        trusted = await w.document("v1")

    assert (again.source, trusted.source) == (Source.REVALIDATED, Source.HIT)
    assert [asked.method for asked in w.upstream.asked] == ["get_manifest", "head_manifest"]


async def test_moved_tag() -> None:
    """A tag that moved is seen after its time and not before; what it meant stays, by digest."""
    async with world(upstream(), tag_ttl=60.0) as w:
        await w.document("v1")
        w.upstream.add(REPOSITORY, "v1", MOVED)
        before = await w.document("v1")
        w.clock.advance(61.0)
        after = await w.document("v1")
        old = await w.document(IMAGE.top)

    assert (before.digest, after.digest, old.digest) == (IMAGE.top, MOVED.top, IMAGE.top)
    assert after.body == MOVED.index.body


async def test_tag_that_moved_back() -> None:
    """Where a HEAD says that a tag moved, a GET tells whereto, also to something that is held already."""
    async with world(upstream(), tag_ttl=0.0) as w:
        await w.document("v1")
        w.upstream.add(REPOSITORY, "v1", MOVED)
        await w.document("v1")
        w.upstream.add(REPOSITORY, "v1", IMAGE)
        back = await w.document("v1")

    assert back.digest == IMAGE.top
    assert w.upstream.count("get_manifest") == 3


async def test_ttl_of_zero() -> None:
    """With no time at all, every request asks, and no answer may be given again by itself."""
    async with world(upstream(), tag_ttl=0.0) as w:
        await w.document("v1")
        again = await w.document("v1")

    assert again.source is Source.REVALIDATED
    assert again.fresh_for == 0.0


async def test_fresh_for() -> None:
    """An answer for a tag says for how long it holds, one for a digest that it holds for good."""
    async with world(upstream(), tag_ttl=60.0) as w:
        new = await w.document("v1")
        w.clock.advance(20.0)
        later = await w.document("v1")
        forever = await w.document(IMAGE.top)

    assert (new.fresh_for, later.fresh_for, forever.fresh_for) == (60.0, 40.0, None)


async def test_wall_clock_may_jump() -> None:
    """A jump of the wall clock neither ages a tag nor keeps it young."""
    async with world(upstream(), tag_ttl=60.0) as w:
        await w.document("v1")
        w.clock.date += 31_536_000.0
        assert (await w.document("v1")).source is Source.HIT
        w.clock.date -= 63_072_000.0
        w.clock.now += 61.0

        assert (await w.document("v1")).source is Source.REVALIDATED


@pytest.mark.parametrize("problem", BROKEN)
async def test_stale_on_error(problem: UpstreamError) -> None:
    """While the upstream fails in whatever way, a known tag is served, marked, and good for this time only."""
    async with aged() as w:
        w.upstream.problems["head_manifest"] = problem

        stale = await w.document("v1")

    assert (stale.source, stale.digest, stale.fresh_for) == (Source.STALE, IMAGE.top, 0.0)


async def test_stale_while_on_hold() -> None:
    """While the upstream is left alone nobody asks it, and a known tag is served, marked."""
    async with aged() as w:
        w.upstream.hold = Hold(30.0, Problem.RATE_LIMITED)

        stale = await w.document("v1")

    assert stale.source is Source.STALE
    assert w.upstream.requests == 1


async def test_stale_when_slow() -> None:
    """An upstream that thinks too long is not waited for where the tag is known; its late answer still counts."""
    async with aged() as w:
        gate = w.upstream.gates["head_manifest"] = asyncio.Event()

        assert (await w.document("v1")).source is Source.STALE
        gate.set()
        await asyncio.sleep(0.01)

        assert (await w.document("v1")).source is Source.HIT
    assert w.upstream.count("head_manifest") == 1


@pytest.mark.parametrize("problem", [Absent("gone"), Denied("private now")])
async def test_absence_and_refusal_are_not_stale(problem: UpstreamError) -> None:
    """A tag that is gone or private now is not served from memory; its content stays, by digest."""
    async with aged() as w:
        w.upstream.problems["head_manifest"] = problem

        assert (await refused(w, "v1")).kind is MANIFEST_UNKNOWN
        assert (await w.document(IMAGE.top)).source is Source.HIT


async def test_absence_is_remembered_shortly() -> None:
    """A tag that does not exist is asked for once in some seconds, and seen when it is there."""
    async with world(FakeUpstream(), negative_ttl=3.0) as w:
        for _ in range(5):
            assert (await refused(w, "v1")).kind is MANIFEST_UNKNOWN
        assert w.upstream.requests == 1
        w.upstream.add(REPOSITORY, "v1", IMAGE)
        w.clock.advance(3.0)

        assert (await w.document("v1")).digest == IMAGE.top


@pytest.mark.parametrize("problem", [Denied("private"), Unavailable("down"), RateLimited(30.0)])
async def test_other_trouble_is_not_remembered(problem: UpstreamError) -> None:
    """Only absence is remembered: after a refusal or a failure the next request asks again."""
    async with world(upstream()) as w:
        w.upstream.problems["get_manifest"] = problem
        await refused(w, "v1")
        w.upstream.problems.clear()

        assert (await w.document("v1")).digest == IMAGE.top


async def test_known_absence_of_a_known_tag() -> None:
    """A known tag that was found gone is not asked for again at once."""
    async with world(upstream(), tag_ttl=0.0) as w:
        await w.document("v1")
        w.upstream.remove(REPOSITORY, "v1")
        for _ in range(3):
            await refused(w, "v1")

    assert w.upstream.count("head_manifest") == 1


@pytest.mark.parametrize(
    ("hold", "kind"), [(Hold(29.5, Problem.RATE_LIMITED), UNAVAILABLE), (Hold(4.0, Problem.FAILING), UNAVAILABLE)]
)
@pytest.mark.parametrize("reference", ["v1", IMAGE.top])
async def test_cold_while_on_hold(hold: Hold, kind: object, reference: str) -> None:
    """What is not held is refused at once while the upstream is left alone, with the time to come back."""
    async with world(upstream()) as w:
        w.upstream.hold = hold

        refusal = await refused(w, reference)

    assert (refusal.kind, refusal.retry_after) == (kind, -(-int(hold.seconds * 2) // 2))
    assert w.upstream.requests == 0


async def test_cold_and_broken() -> None:
    """What is not held and cannot be had is 502."""
    async with world(upstream()) as w:
        w.upstream.problems["get_manifest"] = Unavailable("down")

        assert (await refused(w, "v1")).kind is UPSTREAM_BROKEN


async def test_offline() -> None:
    """Offline by order, what is held is served (a tag marked once its time is over), and the rest is absent."""
    store = MemoryStore()
    async with world(upstream(), store=store) as w:
        await w.document("v1")
    async with world(upstream(), store=store, offline=True) as w:
        assert (await w.document("v1")).source is Source.STALE
        assert (await w.document(IMAGE.top)).source is Source.HIT
        assert (await refused(w, "v2")).kind is MANIFEST_UNKNOWN
        assert (await refused(w, MOVED.top)).kind is MANIFEST_UNKNOWN
        assert w.upstream.requests == 0


async def test_restart() -> None:
    """After a start a known tag is asked about by HEAD once, and nothing is fetched again."""
    store = MemoryStore()
    async with world(upstream(), store=store) as w:
        await w.document("v1")
    async with world(upstream(), store=store) as w:
        again = await w.document("v1")

    assert again.source is Source.REVALIDATED
    assert [asked.method for asked in w.upstream.asked] == ["head_manifest"]


async def test_full_accept() -> None:
    """The upstream is asked with what the client listed, first and in order, and with everything that we serve."""
    async with world(upstream()) as w:
        await w.manifest("v1", DOCKER_MANIFEST)
        await w.manifest(IMAGE.children[0], DOCKER_MANIFEST)

    by_tag, by_digest = (asked.accept for asked in w.upstream.asked)
    assert by_tag.startswith(DOCKER_MANIFEST)
    assert OCI_INDEX in by_tag
    assert by_digest.startswith(OCI_INDEX)


async def test_digest_ignores_accept() -> None:
    """A digest names bytes: whatever the client lists, it gets them."""
    async with world(upstream()) as w:
        await w.document("v1")

        assert (await w.document(IMAGE.top, DOCKER_MANIFEST)).media_type == OCI_INDEX


async def test_varying_upstream() -> None:
    """Where an upstream answers by Accept, no client is given the cached answer to another one's list."""
    one = FakeUpstream()
    one.add(REPOSITORY, None, DOCKER)
    one.add(REPOSITORY, "v1", OCI)
    one.by_accept = {("v1", DOCKER_MANIFEST): DOCKER.top}
    async with world(one) as w:
        for _ in range(2):
            assert (await w.document("v1", OCI_MANIFEST)).digest == OCI.top
            assert (await w.document("v1", DOCKER_MANIFEST)).digest == DOCKER.top
            assert (await w.document("v1")).digest == OCI.top

    assert w.upstream.requests == 2


async def test_upstream_that_does_not_vary() -> None:
    """Where the upstream has one kind only, that is what clients get who did not list it; they ask no more often."""
    async with world(upstream()) as w:
        await w.document("v1", OCI_INDEX)
        for _ in range(3):
            assert (await w.document("v1", DOCKER_MANIFEST)).digest == IMAGE.top

    assert w.upstream.requests == 2


async def test_absent_digest_is_remembered() -> None:
    """A digest that is absent is not asked for again at once."""
    async with world(upstream()) as w:
        for _ in range(3):
            await refused(w, MOVED.top)

    assert w.upstream.requests == 1


async def test_cold_digest() -> None:
    """A client that knows only a digest needs no tag before."""
    async with world(upstream()) as w:
        answer = await w.document(IMAGE.children[1])

    assert answer.body == IMAGE.manifests[IMAGE.children[1]].body


async def test_head_then_get() -> None:
    """HEAD of a tag and GET of the digest that it told fit together, though the tag moved in between."""
    async with world(upstream()) as w:
        told = await w.manifest("v1", head=True)
        assert isinstance(told, HeadAnswer)
        w.upstream.add(REPOSITORY, "v1", MOVED)

        assert (await w.document(told.digest)).body == IMAGE.index.body


async def test_cold_head() -> None:
    """HEAD of what is not held is answered from a HEAD, with digest, type and length; and it settles the tag."""
    async with world(upstream()) as w:
        told = await w.manifest("v1", head=True)
        got = await w.document("v1")

    assert told == HeadAnswer(Digest(IMAGE.top), OCI_INDEX, len(IMAGE.index.body))
    assert got.digest == IMAGE.top
    assert [(asked.method, asked.about) for asked in w.upstream.asked] == [
        ("head_manifest", "v1"),
        ("get_manifest", IMAGE.top),
    ]


async def test_cold_head_by_digest() -> None:
    """HEAD of a digest asks for no more than that."""
    async with world(upstream()) as w:
        told = await w.manifest(IMAGE.top, head=True)

    assert told == HeadAnswer(Digest(IMAGE.top), OCI_INDEX, len(IMAGE.index.body))


@pytest.mark.parametrize("reference", ["v1", IMAGE.top])
async def test_head_of_a_silent_upstream(reference: str) -> None:
    """Where a HEAD tells too little the manifest is fetched, so that HEAD always has digest and length."""
    async with world(upstream()) as w:
        w.upstream.head_tells = False

        told = await w.manifest(reference, head=True)

    assert (type(told), told.digest) == (ManifestAnswer, IMAGE.top)


async def test_check_of_a_silent_upstream() -> None:
    """Where a HEAD does not tell the digest, a tag is checked by fetching it."""
    async with world(upstream(), tag_ttl=0.0) as w:
        await w.document("v1")
        w.upstream.head_tells = False
        w.upstream.add(REPOSITORY, "v1", MOVED)

        assert (await w.document("v1")).digest == MOVED.top


async def test_warm_head() -> None:
    """HEAD of what is held is a whole answer, so that its headers are those of GET."""
    async with world(upstream()) as w:
        await w.document("v1")

        assert isinstance(await w.manifest("v1", head=True), ManifestAnswer)
