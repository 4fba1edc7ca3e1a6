"""Registries that public bug reports tell of: each refuses or does something that clients still have to come past."""

import asyncio
import json
import time
from dataclasses import replace
from functools import partial

import pytest

from tests.engine.conftest import QUICK, Cache, SkippingClock, Start
from tests.fakes.behaviours import html, redirect_to
from tests.fakes.content import OCI_MANIFEST, digest_of, make_image
from tests.fakes.hub import FakeHub
from tests.fakes.optional import answers, refuses_ranges, tells_by_head
from tests.fakes.registry import FakeRegistry
from tests.fakes.server import Forced
from tests.limits import eventually, scaled

IMAGE = make_image(1000, 1_500_000, seed=71)
MOVED = make_image(1000, seed=72)
LARGE = IMAGE.layers[1]


@pytest.mark.parametrize("status", [400, 403, 404, 500])
async def test_a_refused_head_hides_nothing(start: Start, status: int) -> None:
    """A tag goes on to be served and is seen to move though each HEAD is refused; HEADs of clients are answered."""
    async with start.against({"manifest": answers(status)}, IMAGE, tag_ttl=0.0) as (upstream, cache):
        upstream.methods = {"HEAD"}
        cold = await cache.get("/v2/library/app/manifests/1", method="HEAD")
        again = await cache.manifest("1")
        upstream.add("library/app", "1", MOVED)
        moved = await cache.manifest("1")

        assert (cold.status, cold.header("Content-Length")) == (200, str(len(IMAGE.index.body)))
        assert again.body == IMAGE.index.body
        assert moved.body == MOVED.index.body


@pytest.mark.parametrize("told", [(("Content-Length", "0"),), (("Content-Length", "9"), ("Content-Encoding", "gzip"))])
async def test_a_wrong_length_is_not_repeated(start: Start, told: tuple[tuple[str, str], ...]) -> None:
    """HEAD has the length of the document, by tag and by digest, of a manifest and of a blob."""
    behaviour = tells_by_head(*told)
    async with start.against({"manifest": behaviour, "blob": behaviour}, IMAGE) as (_upstream, cache):
        for reference in ("1", IMAGE.children[0]):
            size = len(IMAGE.manifests[IMAGE.top if reference == "1" else reference].body)
            head = await cache.get(f"/v2/library/app/manifests/{reference}", method="HEAD")
            assert head.header("Content-Length") == str(size)
        head = await cache.get(f"/v2/library/app/blobs/{LARGE}", method="HEAD")
        assert head.header("Content-Length") == str(len(IMAGE.blobs[LARGE]))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("status", [400, 403, 404, 416, 500, 501])
async def test_a_store_without_ranges_gives_the_whole(start: Start, status: int, *, known: bool) -> None:
    """However a store behind the registry refuses ranges, the blob comes by a plain request."""
    async with FakeHub() as hub:
        hub.add("library/app", "1", IMAGE)
        hub.cdn.refuses_ranges = status
        async with start(hub.url) as cache:
            if known:
                await cache.know(IMAGE)

            assert (await cache.blob(LARGE)).body == IMAGE.blobs[LARGE]


@pytest.mark.parametrize("status", [403, 500])
async def test_a_registry_without_ranges_gives_the_whole(start: Start, status: int) -> None:
    """The same where the registry sends blobs itself."""
    async with start.against({"blob": refuses_ranges(status)}, IMAGE) as (_upstream, cache):
        await cache.know(IMAGE)

        assert (await cache.blob(LARGE)).body == IMAGE.blobs[LARGE]


async def test_one_bad_image_leaves_the_others(start: Start) -> None:
    """An image that always fails is soon refused at once; another of the same registry is pulled as ever."""
    async with start.over(IMAGE) as (upstream, cache):
        upstream.status_for = {"/bad/": 500}
        statuses = [(await cache.manifest("1", repository="library/bad")).status for _ in range(7)]

        assert statuses == [502] * 5 + [503] * 2
        assert {reply.status for reply in await cache.pull(IMAGE)} == {200}


@pytest.mark.parametrize("how", [404, 406, 400, 405, 501, 500, "page", "login"])
async def test_no_referrers_is_a_404(start: Start, how: int | str) -> None:
    """However a registry says that it lists no referrers, clients are sent to the tag that stands for the list."""
    behaviour = answers(how) if isinstance(how, int) else html if how == "page" else redirect_to("/login")
    async with start.against({"referrers": behaviour, "other": html}) as (_upstream, cache):
        assert (await cache.get(f"/v2/library/app/referrers/{IMAGE.top}")).status == 404


@pytest.mark.parametrize("onward", ["next_page=gAAAA%3D%3d&n=2", "last=gAAAA%3D&n=2"])
async def test_the_link_to_the_next_page_is_carried(start: Start, onward: str) -> None:
    """Its query comes back to the registry byte for byte, and the client keeps the namespace that it named."""
    path = "/v2/library/app/tags/list"
    link = ("Link", f'<{path}?{onward}>; rel="next"')
    async with FakeRegistry() as upstream:
        upstream.status_for = {
            f"{path}?{onward}": Forced(200, (), b'{"name": "library/app", "tags": ["c"]}'),
            f"{path}?n=2": Forced(200, (link,), b'{"name": "library/app", "tags": ["a", "b"]}'),
        }
        async with start(upstream.url) as cache:
            first = await cache.get(f"{path}?ns=docker.io&n=2")
            told = (first.header("Link") or "").partition(">")[0].lstrip("<")
            second = await cache.get(told)

            assert told == f"{path}?{onward}&ns=docker.io"
            assert json.loads(second.body)["tags"] == ["c"]
            assert [seen.target for seen in upstream.log] == [f"{path}?n=2", f"{path}?{onward}"]


async def test_a_late_manifest_is_kept(start: Start) -> None:
    """An upstream that is slower than clients wait: they are told in time, and the next one has the image."""
    async with start.over(IMAGE, limits=replace(QUICK, manifest=scaled(0.2))) as (upstream, cache):
        upstream.delay = asyncio.Event()
        began = time.perf_counter()
        early = await asyncio.gather(*(cache.manifest("1") for _ in range(3)))
        assert {reply.status for reply in early} == {502}
        assert time.perf_counter() - began < scaled(1)
        upstream.delay.set()
        await eventually(partial(holds_images, cache))
        asked = upstream.count()

        late = await cache.manifest("1")

        assert (late.body, late.header("Obol-Cache")) == (IMAGE.index.body, "hit")
        assert upstream.count() == asked == 1


async def holds_images(cache: Cache) -> bool:
    """Whether a tag is known."""
    return bool((await cache.running.images()).images)


async def test_many_layers(start: Start) -> None:
    """What a manifest names is bounded by its bytes alone; a layer of it is served."""
    layers = [
        {"mediaType": "application/x", "digest": digest_of(b"%d" % n), "size": len(b"%d" % n)} for n in range(12_000)
    ]
    config = {"mediaType": "application/x", "digest": digest_of(b"{}"), "size": 2}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}).encode()
    async with FakeRegistry() as upstream:
        upstream.status_for = {
            "/manifests/1": Forced(200, (("Content-Type", OCI_MANIFEST),), body),
            digest_of(b"7"): Forced(200, (), b"7"),
        }
        async with start(upstream.url, limits=replace(QUICK, manifest=scaled(4.5))) as cache:
            assert (await cache.manifest("1")).body == body
            assert (await cache.blob(digest_of(b"7"))).body == b"7"
            assert (await cache.get(f"/v2/library/app/blobs/{digest_of(b'8')}", method="HEAD")).status == 404


@pytest.mark.parametrize("kind", ["application/vnd.example.thing.v1+json", "application/x.wasm"])
async def test_other_kinds_pass_through(start: Start, kind: str) -> None:
    """A document of a kind that is asked for by Accept or by digest comes byte for byte, and stays without upstream."""
    body = b'{"layers": "not ours to read"} \n'
    async with FakeRegistry() as upstream:
        answer = Forced(200, (("Content-Type", kind), ("Docker-Content-Digest", digest_of(body))), body)
        upstream.status_for = {"/manifests/1": answer, f"/manifests/{digest_of(body)}": answer}
        async with start(upstream.url) as cache:
            by_digest = await cache.manifest(digest_of(body))
            by_tag = await cache.manifest("1", ("Accept", kind))
        await upstream.down()
        async with start(upstream.url) as cache:
            later = [await cache.manifest("1", ("Accept", kind)), await cache.manifest(digest_of(body))]

    for reply in (by_digest, by_tag, *later):
        assert (reply.status, reply.body, reply.header("Content-Type")) == (200, body, kind)


async def test_revoked_access_reaches_ready_answers(start: Start) -> None:
    """Digests that were served a moment ago are refused once a check of the tag was refused; a 404 revokes nothing."""
    clock = SkippingClock()
    async with FakeRegistry() as upstream:
        upstream.add("library/app", "1", IMAGE)
        async with start(upstream.url, tag_ttl=0.0, clock=clock) as cache:
            await cache.pull(IMAGE)
            await cache.settled()
            await cache.pull(IMAGE)
            upstream.status_for = {"/manifests/1": 404}
            assert (await cache.manifest("1")).status == 404
            assert (await cache.manifest(IMAGE.top)).status == 200
            clock.skip(10.0)
            upstream.status_for = {"/library/app/": 403}

            assert (await cache.manifest("1")).status == 404
            denied = [await cache.manifest(IMAGE.top), await cache.blob(LARGE), await cache.blob(IMAGE.layers[0])]

            assert [reply.status for reply in denied] == [404] * 3
        async with start(upstream.url, offline=True) as cache:
            assert (await cache.manifest(IMAGE.top)).status == 404
        upstream.status_for = {}
        async with start(upstream.url) as cache:
            assert {reply.status for reply in await cache.pull(IMAGE)} == {200}
