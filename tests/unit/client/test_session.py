import asyncio

import pytest

from obol.client.ports import BytesFrom, Kind, Refused
from obol.client.session import BlobAnswer, Lost, RegistryClient
from obol.oci.mediatypes import OCI_INDEX
from obol.oci.references import Digest, Repository, Tag
from tests.fakes import behaviours
from tests.fakes.behaviours import Behaviour
from tests.fakes.content import make_image
from tests.fakes.hostile import HostileRegistry
from tests.fakes.registry import FakeRegistry, Forced
from tests.unit.client.reach import FakeCache, client_of

APP = Repository("team/app")
IMAGE = make_image(3000)
TOP, LAYER = Digest(IMAGE.top), Digest(IMAGE.layers[0])
DATA = IMAGE.blobs[LAYER]
NOWHERE = "http://127.0.0.1:1"


async def read(answer: BlobAnswer) -> bytes:
    """All bytes of an answer, which is then closed (twice)."""
    try:
        return b"".join([piece async for piece in answer.pieces()])
    finally:
        answer.close()
        answer.close()


async def asked(client: RegistryClient) -> Refused:
    """How a question for the image and one for its layer are refused: both alike."""
    with pytest.raises(Refused) as manifest:
        await client.manifest(APP, Tag("1"))
    with pytest.raises(Refused) as blob:
        await client.blob(APP, LAYER)
    assert (manifest.value.kind, manifest.value.retry_after) == (blob.value.kind, blob.value.retry_after)
    return manifest.value


async def test_manifest() -> None:
    """A manifest comes with its digest and size, by tag and by digest."""
    async with FakeRegistry() as registry, client_of(registry.url) as client:
        registry.add(APP, "1", IMAGE)

        by_tag = await client.manifest(APP, Tag("1"))
        by_digest = await client.manifest(APP, TOP)

    assert by_tag == by_digest
    assert (by_tag.digest, by_tag.size, by_tag.source) == (TOP, len(IMAGE.index.body), BytesFrom.UPSTREAM)
    assert by_tag.manifest.media_type == OCI_INDEX
    assert "oci.image.index" in (registry.log[0].header("Accept") or "")


async def test_blob() -> None:
    """A blob comes from its beginning or from where it is wanted."""
    async with FakeRegistry() as registry, client_of(registry.url) as client:
        registry.add(APP, "1", IMAGE)
        whole = await client.blob(APP, LAYER)
        assert (whole.start, whole.total, whole.stored, whole.held) == (0, 3000, False, 0)
        assert await read(whole) == DATA

        rest = await client.blob(APP, LAYER, 1000)
        assert (rest.start, rest.total) == (1000, 3000)
        assert await read(rest) == DATA[1000:]

        assert registry.connections == 1


async def test_no_ranges() -> None:
    """A registry that knows no ranges sends the whole, and that is seen."""
    async with FakeRegistry() as registry, client_of(registry.url) as client:
        registry.add(APP, "1", IMAGE)
        registry.accept_ranges = False

        answer = await client.blob(APP, LAYER, 1000)

        assert (answer.start, await read(answer)) == (0, DATA)


async def test_another_range() -> None:
    """A range that was not asked for is not taken for the one that was."""
    async with HostileRegistry({"blob": behaviours.range_lie(start=1)}) as registry, client_of(registry.url) as client:
        registry.add(APP, "1", IMAGE)

        with pytest.raises(Lost, match="another range"):
            await client.blob(APP, LAYER, 1000)


async def test_a_cache() -> None:
    """A cache is told which registry is meant, and tells where its answers come from."""
    async with FakeCache() as cache, client_of(f"{cache.url}/", "localhost:5000") as client:
        cache.add(APP, "1", IMAGE)
        cache.stored = {TOP, LAYER}
        assert (await client.manifest(APP, TOP)).source is BytesFrom.CACHE
        assert (await client.manifest(APP, Tag("1"))).source is BytesFrom.UPSTREAM
        hit = await client.blob(APP, LAYER)
        hit.close()

        cache.stored, cache.held = set(), 700
        miss = await client.blob(APP, LAYER)
        miss.close()

    assert (hit.stored, miss.stored, miss.held) == (True, False, 700)
    assert {seen.query for seen in cache.log} == {"ns=localhost%3A5000"}


@pytest.mark.parametrize(
    ("answer", "kind", "retry_after"),
    [
        (Forced(404), Kind.ABSENT, None),
        (Forced(404, (("Obol-Problem", "denied"),)), Kind.DENIED, None),
        (Forced(404, (("Obol-Problem", "offline"),)), Kind.OFFLINE, None),
        (Forced(404, (("Obol-Problem", "new"),)), Kind.ABSENT, None),
        (Forced(401), Kind.DENIED, None),
        (Forced(403), Kind.DENIED, None),
        (Forced(429, (("Retry-After", "60"),)), Kind.RATE_LIMITED, 60.0),
        (Forced(429, (("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),)), Kind.RATE_LIMITED, None),
        (Forced(503, (("Obol-Problem", "rate-limited"), ("Retry-After", "9"))), Kind.RATE_LIMITED, 9.0),
        (Forced(503, (("Obol-Problem", "failing"), ("Retry-After", "5"))), Kind.UPSTREAM_DOWN, 5.0),
        (Forced(503, (("Obol-Problem", "disk"),)), Kind.NO_SPACE, None),
        (Forced(400), Kind.UNTRUSTED, None),
        (Forced(204), Kind.UNTRUSTED, None),
    ],
)
async def test_refusals(answer: Forced, kind: Kind, retry_after: float | None) -> None:
    """A status, and what our cache says beside it, tells why there is nothing; asking again is no use."""
    async with FakeRegistry() as registry, client_of(registry.url) as client:
        registry.status_for = {"/v2/": answer}

        refused = await asked(client)

    assert (refused.kind, refused.retry_after, type(refused)) == (kind, retry_after, Refused)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_trouble(status: int) -> None:
    """A server in trouble may get over it."""
    async with FakeRegistry() as registry, client_of(registry.url) as client:
        registry.status_for = {"/v2/": Forced(status, (("Obol-Problem", "failing"),) if status == 502 else ())}

        refused = await asked(client)

    assert isinstance(refused, Lost)
    assert (refused.kind, refused.answered) == (Kind.UPSTREAM_DOWN, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"errors":[{"code":"X","message":"no such","detail":"of \\u001b[31mthis"}]}', r"of \x1b[31mthis"),
        (b'{"errors":[{"code":"X","message":"no such","detail":{"a":1}}]}', "no such"),
        (b'{"errors":[{"code":"X","message":"no such"}]}', "no such"),
        (b'{"errors":[{"code":"X","message":"no such","detail":null}]}', "no such"),
        (b'{"errors":[]}', "it answers 404"),
        (b"<html>", "it answers 404"),
        (b'{"errors":[{"detail":"\xff"}]}', "it answers 404"),
        (b"", "it answers 404"),
    ],
)
async def test_what_is_said(body: bytes, said: str) -> None:
    """The words of an error document are repeated, made harmless; without any, the status stands for them."""
    async with FakeRegistry() as registry, client_of(registry.url) as client:
        registry.status_for = {"/v2/": Forced(404, (), body)}

        assert (await asked(client)).why == said


async def test_nobody_there() -> None:
    """That nothing listens is told with the address."""
    async with client_of(NOWHERE) as client:
        refused = await asked(client)

    assert (refused.kind, refused.why) == (Kind.UNREACHABLE, "nothing answers at http://127.0.0.1:1")


async def test_silence() -> None:
    """A server that does not answer is not waited for without end."""
    async with FakeRegistry() as registry, client_of(registry.url) as client:
        registry.delay = asyncio.Event()

        assert isinstance(await asked(client), Lost)


@pytest.mark.parametrize("behaviour", [behaviours.closed_at_once, behaviours.reset_at_once, behaviours.endless_headers])
async def test_bad_servers(behaviour: Behaviour) -> None:
    """Whatever a server does before its answer is one of our errors."""
    async with (
        HostileRegistry({"blob": behaviour, "manifest": behaviour}) as registry,
        client_of(registry.url) as client,
    ):
        registry.add(APP, "1", IMAGE)

        assert isinstance(await asked(client), Lost)


@pytest.mark.parametrize("behaviour", [behaviours.cut(), behaviours.stall_mid_body, behaviours.chunk_garbage])
async def test_bad_bodies(behaviour: Behaviour) -> None:
    """So is what it does within."""
    async with (
        HostileRegistry({"blob": behaviour, "manifest": behaviour}) as registry,
        client_of(registry.url) as client,
    ):
        registry.add(APP, "1", IMAGE)

        with pytest.raises(Lost):
            await client.manifest(APP, Tag("1"))
        with pytest.raises(Lost):
            await read(await client.blob(APP, LAYER))


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (behaviours.other_content, "another digest"),
        (behaviours.flip("middle"), "another digest"),
        (behaviours.huge_manifest, "too long"),
    ],
)
async def test_wrong_manifests(behaviour: Behaviour, text: str) -> None:
    """A manifest that is not the one that was asked for by its digest is refused."""
    async with HostileRegistry({"manifest": behaviour}) as registry, client_of(registry.url) as client:
        registry.add(APP, "1", IMAGE)

        with pytest.raises(Refused, match=text) as caught:
            await client.manifest(APP, TOP)

    assert caught.value.kind is Kind.UNTRUSTED


@pytest.mark.parametrize("behaviour", [behaviours.html, behaviours.empty, behaviours.nested_json])
async def test_no_manifests(behaviour: Behaviour) -> None:
    """What is no manifest is not taken for one, though nobody knows the digest of a tag."""
    async with HostileRegistry({"manifest": behaviour}) as registry, client_of(registry.url) as client:
        registry.add(APP, "1", IMAGE)

        with pytest.raises(Refused, match="not a manifest") as caught:
            await client.manifest(APP, Tag("1"))

    assert caught.value.kind is Kind.UNTRUSTED


async def test_redirects() -> None:
    """A registry may send us elsewhere for a blob; a cache may not."""
    async with FakeRegistry() as store, HostileRegistry() as registry:
        store.add(APP, "1", IMAGE)
        registry.behaviours["blob"] = behaviours.redirect_to(f"{store.url}/v2/{APP}/blobs/{LAYER}")
        registry.add(APP, "1", IMAGE)

        async with client_of(registry.url) as client:
            assert await read(await client.blob(APP, LAYER, 1000)) == DATA[1000:]
        async with client_of(registry.url, "registry.test") as client:
            with pytest.raises(Refused, match="it answers 307"):
                await client.blob(APP, LAYER)


async def test_redirect_loop() -> None:
    """A circle of redirects is one of our errors."""
    async with HostileRegistry({"blob": behaviours.redirect_loop}) as registry, client_of(registry.url) as client:
        registry.add(APP, "1", IMAGE)

        with pytest.raises(Lost):
            await client.blob(APP, LAYER)
