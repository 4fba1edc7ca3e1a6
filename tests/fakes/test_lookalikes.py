import asyncio
import json

import aiohttp
import pytest
from yarl import URL

from tests.fakes.content import DOCKER_MANIFEST, OCI_INDEX, make_image
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.http import Reply, request
from tests.fakes.hub import FakeHub
from tests.fakes.quay import FakeQuay

APP = "library/app"
OTHER = "library/other"
MANIFEST = f"/v2/{APP}/manifests/1"
IMAGE = make_image(50_000)
BLOB = f"/v2/{APP}/blobs/{IMAGE.layers[0]}"


async def token(port: int, path: str, repository: str) -> tuple[str, str]:
    """The Authorization header for a repository."""
    reply = await request(port, "GET", f"{path}?service=x&scope=repository%3A{repository}%3Apull")
    return "Authorization", f"Bearer {json.loads(reply.body)['token']}"


async def follow(reply: Reply) -> Reply:
    """Ask for the Location as it stands."""
    location = URL(reply.header("Location") or "", encoded=True)
    raw = (reply.header("Location") or "").partition(f":{location.port}")[2]
    return await request(location.port or 0, "GET", raw)


async def test_hub_wants_a_token_of_the_repository() -> None:
    """No token is challenged with the scope, another repository's is refused, the right one is good for a while."""
    async with FakeHub() as hub:
        hub.add(APP, "1", IMAGE)
        hub.add(OTHER, "1", IMAGE)

        bare = await request(hub.api.port, "GET", MANIFEST)
        right = await token(hub.auth.port, "/token", APP)
        wrong = await request(hub.api.port, "GET", MANIFEST, [await token(hub.auth.port, "/token", OTHER)])
        unknown = await request(hub.api.port, "GET", MANIFEST, [await token(hub.auth.port, "/token", "no/such")])
        good = await request(hub.api.port, "GET", MANIFEST, [right])
        hub.office.lifetime = 0.0
        late = await request(hub.api.port, "GET", MANIFEST, [await token(hub.auth.port, "/token", APP)])

        assert bare.status == 401
        assert bare.header("WWW-Authenticate") == (
            f'Bearer realm="{hub.auth.url}/token",service="registry.docker.io",scope="repository:{APP}:pull"'
        )
        assert wrong.status == unknown.status == 401
        assert 'error="insufficient_scope"' in (wrong.header("WWW-Authenticate") or "")
        assert (good.status, good.body) == (200, IMAGE.index.body)
        assert 'error="invalid_token"' in (late.header("WWW-Authenticate") or "")
        assert [seen.path for seen in hub.log][:2] == [MANIFEST, "/token"]


async def test_hub_counts_manifest_gets() -> None:
    """A GET uses one pull, a HEAD and a missing tag none; when none is left GETs are 429."""
    async with FakeHub() as hub:
        hub.add(APP, "1", IMAGE)
        hub.api.remaining = 1
        right = await token(hub.auth.port, "/token", APP)

        head = await request(hub.api.port, "HEAD", MANIFEST, [right])
        await request(hub.api.port, "GET", f"/v2/{APP}/manifests/none", [right])
        last = await request(hub.api.port, "GET", MANIFEST, [right])
        over = await request(hub.api.port, "GET", MANIFEST, [right])

        assert head.header("ratelimit-remaining") == "1;w=21600"
        assert (last.status, last.header("ratelimit-limit")) == (200, "100;w=21600")
        assert (over.status, over.header("ratelimit-remaining")) == (429, "0;w=21600")
        assert json.loads(over.body)["errors"][0]["code"] == "TOOMANYREQUESTS"
        assert (await request(hub.api.port, "HEAD", MANIFEST, [right])).status == 200


async def test_hub_blobs_come_from_signed_urls() -> None:
    """The URL works byte for byte and bare; changed, with credentials, used up or expired it does not."""
    async with FakeHub() as hub:
        hub.add(APP, "1", IMAGE)
        hub.cdn.padding = 12_000
        right = await token(hub.auth.port, "/token", APP)
        reply = await request(hub.api.port, "GET", BLOB, [right])
        location = reply.header("Location") or ""
        target = location.removeprefix(hub.cdn.url)
        assert reply.status == 307
        assert all(part in target for part in ("%2F", "%7E", "+"))

        assert (await follow(reply)).body == IMAGE.blobs[IMAGE.layers[0]]
        assert (await request(hub.cdn.port, "GET", target, [("Range", "bytes=1-3")])).status == 206
        assert (await request(hub.cdn.port, "GET", target.replace("%7E", "~"))).status == 403
        assert (await request(hub.cdn.port, "GET", URL(location).raw_path_qs)).status == 403
        refused = await request(hub.cdn.port, "GET", target, [right])
        assert (refused.status, b"Only one auth mechanism allowed" in refused.body) == (400, True)
        hub.cdn.uses = 2
        assert (await follow(reply)).status == 403
        hub.cdn.uses = None
        hub.cdn.expire_all()
        assert (await follow(reply)).status == 403
        assert (await follow(await request(hub.api.port, "GET", BLOB, [right]))).status == 200


async def test_hub_redirects_can_be_chained() -> None:
    """The CDN may redirect to itself before it serves."""
    async with FakeHub() as hub:
        hub.add(APP, "1", IMAGE)
        hub.cdn.hops = 2
        reply = await request(hub.api.port, "GET", BLOB, [await token(hub.auth.port, "/token", APP)])

        for _ in range(2):
            reply = await follow(reply)
            assert reply.status == 307
        assert (await follow(reply)).status == 200


async def test_a_naive_client_fails_at_the_cdn() -> None:
    """A client that quotes the Location anew, as aiohttp does on its own, breaks the signature."""
    async with FakeHub() as hub, aiohttp.ClientSession() as session:
        hub.add(APP, "1", IMAGE)
        right = dict([await token(hub.auth.port, "/token", APP)])

        async with session.get(hub.url + BLOB, headers=right) as answer:
            assert answer.status == 403
        assert hub.cdn.log[-1].header("Authorization") is None


async def test_hub_goes_down_and_comes_back() -> None:
    """All three servers refuse while it is down."""
    async with FakeHub() as hub:
        await hub.down()
        for port in (hub.api.port, hub.auth.port, hub.cdn.port):
            with pytest.raises(ConnectionRefusedError):
                await request(port, "GET", "/")
        await hub.up()

        assert (await request(hub.api.port, "GET", "/v2/")).status == 401


async def test_ghcr_is_strict() -> None:
    """The stored type must be listed; the token endpoint refuses unknown and private names; a bare token is 403."""
    async with FakeGhcr() as ghcr:
        ghcr.add(APP, "1", IMAGE)
        ghcr.add(OTHER, "1", IMAGE)
        ghcr.private.add(OTHER)
        accept = ("Accept", f"{DOCKER_MANIFEST}, {OCI_INDEX};q=0.5")
        right = await token(ghcr.port, "/token", APP)

        assert (await request(ghcr.port, "GET", MANIFEST, [right, accept])).status == 200
        unlisted = await request(ghcr.port, "GET", MANIFEST, [right, ("Accept", f"{DOCKER_MANIFEST}, */*")])
        assert unlisted.status == 404
        assert b"OCI index found, but accept header does not support OCI indexes" in unlisted.body
        assert (await request(ghcr.port, "GET", "/token?scope=repository:no/such:pull")).status == 403
        assert (await request(ghcr.port, "GET", f"/token?scope=repository:{OTHER}:pull")).status == 403
        bare = json.loads((await request(ghcr.port, "GET", "/token")).body)["token"]
        refused = await request(ghcr.port, "GET", MANIFEST, [accept, ("Authorization", f"Bearer {bare}")])
        assert refused.status == 403
        assert (await request(ghcr.port, "GET", MANIFEST)).status == 401


async def test_quay_challenges_only_the_ping() -> None:
    """A resource is a bare 401; `/v2/` tells where tokens are; unknown names get none."""
    async with FakeQuay() as quay:
        quay.add(APP, "1", IMAGE)

        bare = await request(quay.port, "GET", MANIFEST)
        ping = await request(quay.port, "GET", "/v2/")
        right = await token(quay.port, "/v2/auth", APP)

        assert (bare.status, bare.header("WWW-Authenticate")) == (401, None)
        assert ping.header("WWW-Authenticate") == f'Bearer realm="{quay.url}/v2/auth",service="quay.io"'
        assert (await request(quay.port, "GET", "/v2/auth?scope=repository:no/such:pull")).status == 401
        assert (await request(quay.port, "GET", MANIFEST, [right])).body == IMAGE.index.body
        assert (await asyncio.gather(request(quay.port, "HEAD", BLOB, [right])))[0].header("Content-Length") == "50000"
