"""What attacks with hostile upstreams and clients have found: one test for each defect that there was."""

import asyncio
import json
import time

import pytest
import structlog

from obol.machine.tasks import spawn
from obol.oci.references import Digest
from obol.registry.store.disk.metadata import SqliteMetadata
from obol.registry.store.disk.partials import DiskPartial
from obol.registry.store.ports import StoreError, transfer_id
from obol.registry.transfers.transfer import Abandoned
from obol.registry.upstream.blobs import RegistryStream
from tests.engine.conftest import Start
from tests.fakes.behaviours import BAD_RANGES, SILENCE, WRONG_CONTENT, Exchange, cut, flip
from tests.fakes.content import OCI_INDEX, OCI_MANIFEST, FakeImage, Stored, digest_of, make_image
from tests.fakes.hostile import HostileRegistry
from tests.fakes.http import request, talk
from tests.fakes.registry import FakeRegistry
from tests.fakes.server import Answer
from tests.limits import scaled

IMAGE = make_image(40_000, 1_500_000, seed=70, index=False)
SMALL, LARGE = IMAGE.layers


def index_naming(digest: str, media_type: str) -> FakeImage:
    """An index that says this type of a manifest, whatever it is."""
    child = {"mediaType": media_type, "digest": digest, "size": 2}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    top = digest_of(body)
    return FakeImage({}, {top: Stored(OCI_INDEX, body)}, top, (digest,), ())


@pytest.mark.parametrize("lie", ["text/html", "a/b\r\nX-Injected: yes", "a/\u2603", OCI_INDEX, ""])
async def test_index_does_not_decide_the_type_of_its_child(start: Start, lie: str) -> None:
    """What an index says of the type of a manifest that is held does not reach the client."""
    async with start.over(IMAGE) as (upstream, cache):
        upstream.add("library/app", "2", index_naming(IMAGE.top, lie))
        await cache.manifest("1")
        assert (await cache.manifest("2")).status == 200

        reply = await cache.manifest(IMAGE.top)

        assert (reply.status, reply.header("Content-Type")) == (200, OCI_MANIFEST)
        assert reply.header("X-Injected") is None


async def lying_head(exchange: Exchange) -> None:
    """A HEAD that names a digest which is nowhere."""
    assert isinstance(exchange.honest, Answer)
    headers = (("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", digest_of(b"nowhere")))
    await exchange.say(Answer(200, headers, exchange.honest.body))


async def test_head_of_a_digest_names_that_digest(start: Start) -> None:
    """A HEAD by digest is answered with the digest that was asked for, whatever the upstream's HEAD says."""
    async with start.against({"manifest": lying_head}, IMAGE) as (upstream, cache):
        upstream.methods = {"HEAD"}
        reply = await cache.get(f"/v2/library/app/manifests/{IMAGE.top}", method="HEAD")

        assert (reply.status, reply.header("Docker-Content-Digest")) == (200, IMAGE.top)


@pytest.mark.parametrize("tag_ttl", [60.0, 0.0])
@pytest.mark.parametrize("before", ["HEAD", "GET"])
async def test_tag_whose_head_names_a_digest_that_is_nowhere(start: Start, tag_ttl: float, before: str) -> None:
    """A tag is served although the upstream's HEAD names a digest that the upstream does not have."""
    async with start.against({"manifest": lying_head}, IMAGE, tag_ttl=tag_ttl) as (upstream, cache):
        upstream.methods = {"HEAD"}
        await cache.get("/v2/library/app/manifests/1", method=before)

        reply = await cache.manifest("1")

        assert (reply.status, reply.header("Docker-Content-Digest")) == (200, IMAGE.top)


async def test_manifest_that_takes_two_questions_is_answered_within_one_limit(start: Start) -> None:
    """A tag that is known by a HEAD only is answered within the limit when the upstream then falls silent."""
    async with start.over(IMAGE, tag_ttl=0.0) as (upstream, cache):
        await cache.get("/v2/library/app/manifests/1", method="HEAD")
        upstream.delay, upstream.delay_on = 30.0, "/manifests/"
        began = time.perf_counter()

        reply = await cache.manifest("1")

        assert reply.status == 502
        assert time.perf_counter() - began < scaled(1.25)


async def test_body_that_always_lacks_its_end_is_given_up(start: Start) -> None:
    """An upstream without ranges that cuts every body is asked a few times, not for ever."""
    async with start.against({}, IMAGE) as (upstream, cache):
        upstream.accept_ranges = False
        await cache.know(IMAGE)
        upstream.behaviours = {"blob": cut()}

        reply = await cache.blob(LARGE)

        assert not reply.complete
        assert upstream.count("GET", "/blobs/") < 12
        assert cache.running.engine.transfers == 0


async def test_client_that_reads_nothing_is_not_answered_for_ever(start: Start) -> None:
    """Requests sent ahead by a client that takes no answer are left alone, not answered into memory."""
    async with start.over(IMAGE) as (_upstream, cache):
        await cache.pull(IMAGE)
        await cache.blob(SMALL)
        served = cache.running.engine.scopes.find(None, "docker.io").counters
        before = served.bytes_from_cache
        reader, writer = await asyncio.open_connection("127.0.0.1", cache.port, limit=1)
        line = f"GET /v2/library/app/blobs/{SMALL} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

        writer.write(line * 2000)
        await asyncio.sleep(0.5)

        assert served.bytes_from_cache - before < 20 * 1024 * 1024
        writer.transport.abort()
        del reader


async def test_vanished_client_is_no_error(start: Start) -> None:
    """A client that leaves before its blob has begun leaves no word of an error in the log."""
    with structlog.testing.capture_logs() as told:
        await vanish(start)

    assert {line["event"] for line in told} == {"manifest fetched", "blob fetched"}


async def vanish(start: Start) -> None:
    """Ask for a blob and leave, then fetch it."""
    async with start.over(IMAGE) as (upstream, cache):
        upstream.gate = asyncio.Event()
        await cache.know(IMAGE)
        async with talk(cache.port, "GET", f"/v2/library/app/blobs/{LARGE}"):
            await upstream.until(1, "GET", "/blobs/")
        await asyncio.sleep(0.05)

        upstream.gate.set()
        assert (await cache.blob(LARGE)).body == IMAGE.blobs[LARGE]
        await asyncio.sleep(0.05)


async def test_blob_is_served_where_its_right_cannot_be_written(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored blob is served in a repository that the upstream confirmed, also while the index cannot be written."""
    async with start.over(IMAGE) as (upstream, cache):
        upstream.add("library/other", "1", IMAGE)
        await cache.pull(IMAGE)

        async def full(*_: object) -> None:
            raise StoreError("record rights: no space left", full=True)

        monkeypatch.setattr(SqliteMetadata, "add_grants", full)

        reply = await cache.blob(LARGE, repository="library/other")

        assert (reply.status, reply.body) == (200, IMAGE.blobs[LARGE])


async def test_failure_at_one_registry_is_not_held_against_another(start: Start) -> None:
    """A part of a blob is fetched from its own registry although the same digest has just failed at another one."""
    async with HostileRegistry({"blob": flip("last")}) as bad, FakeRegistry() as good:
        for upstream in (bad, good):
            upstream.add("app", "1", IMAGE)
        async with start({"bad.test": bad.url, "good.test": good.url}) as cache:
            for registry in ("bad.test", "good.test"):
                await request(cache.port_of(registry), "GET", "/v2/app/manifests/1")
            target = f"/v2/app/blobs/{LARGE}"
            assert not (await request(cache.port_of("bad.test"), "GET", target)).complete

            part = await request(cache.port_of("good.test"), "GET", target, [("Range", "bytes=70000-")])

            assert (part.status, part.body) == (206, IMAGE.blobs[LARGE][70_000:])


async def test_client_of_an_abandoned_transfer_may_come_back(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer that was given up for lack of clients goes on when one comes back for the rest."""
    problems: list[Exception] = [Abandoned("nobody wants the blob any more")]
    honest = RegistryStream.read

    async def read(stream: RegistryStream) -> bytes:
        if problems:
            raise problems.pop()
        return await honest(stream)

    monkeypatch.setattr(RegistryStream, "read", read)
    async with start.over(IMAGE) as (_upstream, cache):
        await cache.know(IMAGE)
        await cache.blob(LARGE)

        part = await cache.blob(LARGE, ("Range", "bytes=1000-"))

        assert (part.status, part.body) == (206, IMAGE.blobs[LARGE][1000:])


async def test_mistake_of_our_own_ends_the_wait(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is told at once when a transfer ends by an error that nobody thought of."""

    async def read(_: RegistryStream) -> bytes:
        raise LookupError("unforeseen")

    monkeypatch.setattr(RegistryStream, "read", read)
    async with start.over(IMAGE) as (_upstream, cache):
        await cache.know(IMAGE)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        began = time.perf_counter()

        reply = await cache.blob(LARGE)

        assert reply.status == 502
        assert time.perf_counter() - began < scaled(1.0)
        asyncio.get_running_loop().set_exception_handler(None)


async def test_next_transfer_waits_for_the_checkpoint_of_the_last(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer that failed is over when its checkpoint is written, so that the next does not cut the file shorter."""
    order: list[str] = []
    checkpoint = DiskPartial.checkpoint

    async def slow(partial: DiskPartial, frontier: int, *, durable: bool = False) -> None:
        if durable:
            await asyncio.sleep(0.2)
            order.append("checkpoint")
        await checkpoint(partial, frontier, durable=durable)

    monkeypatch.setattr(DiskPartial, "checkpoint", slow)
    async with start.against({}, IMAGE) as (upstream, cache):
        await cache.know(IMAGE)
        upstream.accept_ranges = False
        upstream.behaviours = {"blob": cut()}

        reply = await cache.blob(LARGE)
        order.append("told")

        assert not reply.complete
        assert order[0] == "checkpoint"


async def test_partial_longer_than_the_blob_is_begun_afresh(start: Start) -> None:
    """What a lying manifest left of a blob, longer than the whole blob, does not spoil the next transfer."""
    data = IMAGE.blobs[LARGE]
    longer = data + bytes(700_000)
    async with FakeRegistry() as liar, FakeRegistry() as honest:
        stored = IMAGE.manifests[IMAGE.top]
        body = stored.body.replace(str(len(data)).encode(), str(len(longer)).encode())
        lie = FakeImage({LARGE: longer}, {digest_of(body): Stored(OCI_MANIFEST, body)}, digest_of(body), (), ())
        liar.add("app", "1", lie)
        honest.add("app", "1", IMAGE)
        async with start({"liar.test": liar.url, "honest.test": honest.url}) as cache:
            for registry in ("liar.test", "honest.test"):
                await request(cache.port_of(registry), "GET", "/v2/app/manifests/1")
            partial = await cache.running.store.partials.open(transfer_id(Digest(LARGE), "docker.io"))
            await partial.write(0, longer)
            await partial.checkpoint(len(longer))
            partial.close()

            reply = await request(cache.port_of("honest.test"), "GET", f"/v2/app/blobs/{LARGE}")

            assert (reply.status, reply.complete, reply.body) == (200, True, data)


async def test_head_of_a_cold_blob_tells_the_size_of_its_descriptor(start: Start) -> None:
    """The size in a manifest, which has a digest, is believed before that in the upstream's HEAD."""

    async def one_byte(exchange: Exchange) -> None:
        await exchange.say(Answer(200, (), b"x"))

    async with start.against({"blob": one_byte}, IMAGE) as (_upstream, cache):
        await cache.know(IMAGE)

        reply = await cache.get(f"/v2/library/app/blobs/{LARGE}", method="HEAD")

        assert (reply.status, reply.header("Content-Length")) == (200, str(len(IMAGE.blobs[LARGE])))


@pytest.mark.parametrize("trouble", ["other content", "stall mid body", "trickle", "wrong total"])
async def test_registry_that_spoils_a_digest_spoils_it_for_itself_only(start: Start, trouble: str) -> None:
    """While one registry sends rubbish under a digest, another registry's client gets its blob in full, and at once."""
    behaviour = {**WRONG_CONTENT, **SILENCE, **BAD_RANGES}[trouble]
    async with HostileRegistry({"blob": behaviour}) as bad, FakeRegistry() as good:
        for registry in (bad, good):
            registry.add("library/app", "1", IMAGE)
        async with start({"bad.test": bad.url, "good.test": good.url}) as cache:
            spoiled = spawn(request(cache.port_of("bad.test"), "GET", f"/v2/library/app/blobs/{LARGE}"), name="bad")
            await bad.until(1, "GET", LARGE)
            began = time.perf_counter()

            reply = await request(cache.port_of("good.test"), "GET", f"/v2/library/app/blobs/{LARGE}")

            assert (reply.status, reply.body) == (200, IMAGE.blobs[LARGE])
            assert time.perf_counter() - began < scaled(1.5)
            await spoiled


async def test_failures_in_the_log(start: Start) -> None:
    """What anybody may ask for in vain, again and again, is told seldom and without a byte of what was asked."""
    absent = digest_of(b"s3cr3t")
    async with start.over() as (upstream, cache):
        upstream.status_for = {"/blobs/": 500, "/manifests/": 500}
        with structlog.testing.capture_logs() as told:
            for _ in range(5):
                assert (await cache.blob(absent, repository="library/s3cr3t")).status >= 500
                assert (await cache.manifest("s3cr3t", repository="library/s3cr3t")).status >= 500

    assert {line["event"] for line in told} <= {"blob not fetched", "refused"}
    assert 0 < len(told) < 5
    assert "s3cr3t" not in str(told)
    assert absent not in str(told)
