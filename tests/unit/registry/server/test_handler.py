import asyncio
import json
from email.utils import parsedate_to_datetime

import pytest

from obol.oci.mediatypes import DOCKER_MANIFEST, OCI_INDEX
from obol.registry.control.api import Problem
from obol.registry.policy.health import Hold
from obol.registry.upstream.ports import Listing, Unavailable
from tests.fakes.content import make_image
from tests.fakes.http import Reply
from tests.fakes.upstream import FakeUpstream
from tests.limits import scaled
from tests.unit.registry.server.serving import Serving, serving, session

IMAGE = make_image(500, 70_000, seed=1, platforms=("linux/amd64", "linux/arm64"))
MOVED = make_image(500, seed=2, platforms=("linux/amd64", "linux/arm64"))
SMALL, LARGE = IMAGE.layers[0], IMAGE.layers[1]
UNKNOWN = "sha256:" + "0" * 64
TAG = "/v2/team/app/manifests/v1"
PULLED = [TAG, f"/v2/team/app/manifests/{IMAGE.top}", f"/v2/team/app/blobs/{SMALL}", f"/v2/team/app/blobs/{LARGE}"]
ABSENT = ["/v2/team/app/manifests/v2", f"/v2/team/app/blobs/{UNKNOWN}"]
REST = ["/v2/", "/healthz", *ABSENT, "/v2/BAD/manifests/v1", "/x"]
NAMES = [
    "..", "../..", "%2e%2e", "a/../b", "a%2fb", "a%2Fb", "a%00b", "a\\b", "A", "a//b", "/a", "a/", "", "a b", "_a",
    "a_", "a___b", "a._b", "a%0d%0ab", "é", "a" * 256, "a;b", "a@b", "a:b",
]  # fmt: skip


def upstream(name: str = "registry.test") -> FakeUpstream:
    """An upstream with one image."""
    one = FakeUpstream(name)
    one.add("team/app", "v1", IMAGE)
    return one


def fields(reply: Reply) -> dict[str, str]:
    """The headers but those that may differ from one answer to the next; a refusal may be worded in two ways."""
    passing = {"Date", "Obol-Cache", "Obol-Held"} if reply.status < 400 else {"Date", "Content-Length"}
    return {name: value for name, value in reply.headers if name not in passing}


async def warm(s: Serving) -> None:
    """Let everything be pulled once."""
    for target in (*PULLED, f"/v2/team/app/manifests/{IMAGE.children[0]}"):
        assert (await s.ask("GET", target)).status == 200
    await s.world.idle()


@pytest.mark.parametrize("target", [*PULLED, *REST])
@pytest.mark.parametrize("is_warm", [False, True])
async def test_head_is_get_without_body(target: str, is_warm: bool) -> None:
    """HEAD answers with the status and headers of GET, and no body, whether the content is held or not."""
    async with serving(upstream()) as s:
        if is_warm:
            await warm(s)
        head = await s.ask("HEAD", target)
        assert s.world.engine.transfers == 0
        get = await s.ask("GET", target)
        await s.world.idle()

    assert (head.status, fields(head)) == (get.status, fields(get))
    assert (head.body, len(get.body)) == (b"", int(get.header("Content-Length") or -1))


async def test_manifest() -> None:
    """A manifest has its bytes, type, digest and a quoted entity tag; by tag it is to be asked for again."""
    async with serving(upstream()) as s:
        by_tag, by_digest = [await s.ask("GET", target) for target in PULLED[:2]]

    for reply in (by_tag, by_digest):
        assert reply.body == IMAGE.index.body
        assert reply.header("Content-Type") == OCI_INDEX
        assert reply.header("Docker-Content-Digest") == IMAGE.top
        assert reply.header("ETag") == f'"{IMAGE.top}"'
        assert reply.header("Docker-Distribution-API-Version") == "registry/2.0"
    assert by_tag.header("Cache-Control") == "no-cache"
    assert "immutable" in (by_digest.header("Cache-Control") or "")
    assert [reply.header("Obol-Cache") for reply in (by_tag, by_digest)] == ["miss", "hit"]


async def test_range_of_a_manifest_is_ignored() -> None:
    """A manifest is always given whole."""
    async with serving(upstream()) as s:
        reply = await s.ask("GET", TAG, ("Range", "bytes=0-9"))

    assert (reply.status, reply.body) == (200, IMAGE.index.body)


@pytest.mark.parametrize("value", ["*", f'"{IMAGE.top}"', f'W/"x", W/"{IMAGE.top}"'])
async def test_not_modified(value: str) -> None:
    """A client that holds the manifest already is told so; one that holds another manifest gets this one."""
    async with serving(upstream()) as s:
        reply = await s.ask("GET", TAG, ("If-None-Match", value))
        assert (await s.ask("GET", TAG, ("If-None-Match", f'"{MOVED.top}"'))).status == 200

    assert (reply.status, reply.body, reply.header("ETag")) == (304, b"", f'"{IMAGE.top}"')
    assert reply.header("Content-Length") is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rest", ["manifests/v1", f"blobs/{SMALL}", "tags/list", f"referrers/{UNKNOWN}"])
async def test_bad_names(name: str, rest: str) -> None:
    """A name that the grammar does not allow is refused before anything is looked up or asked."""
    async with serving(upstream()) as s:
        reply = await s.ask("GET", f"/v2/{name}/{rest}".encode())

        assert reply.status in {0, 400, 404}
        assert s.world.upstream.asked == []
        assert s.world.store.metadata._grants == {}


@pytest.mark.parametrize("target", ["ftp:/v2/team/app/manifests/v1", "*", "/v2/team/app/manifests/.v1"])
async def test_bad_targets(target: str) -> None:
    """So is a target that is no path of ours, or a tag that is none."""
    async with serving(upstream()) as s:
        assert (await s.ask("GET", target)).status in {400, 404}
        assert s.world.upstream.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("target", [TAG, f"/v2/team/app/blobs/{SMALL}", "/v2/team/app/blobs/uploads/", "/v2/"])
async def test_pushing(method: str, target: str) -> None:
    """Nothing can be pushed or deleted here, and the upstream does not hear of it."""
    async with serving(upstream()) as s:
        reply = await s.ask(method, target, body=b"data")

        assert (reply.status, reply.header("Allow")) == (405, "GET, HEAD")
        assert json.loads(reply.body)["errors"][0]["code"] == "UNSUPPORTED"
        assert s.world.upstream.asked == []


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v2/team/app/manifests/v2", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/team/app/blobs/{UNKNOWN}", 404, "BLOB_UNKNOWN"),
        ("/v2/team/app/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/team/app/referrers/{UNKNOWN}", 404, "MANIFEST_UNKNOWN"),
        ("/v2/TEAM/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/team/app/blobs/sha256:baddigest", 400, "DIGEST_INVALID"),
        ("/v2/team/app/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        ("/v2/team/app/manifests/v1?ns=evil.test", 404, "NAME_UNKNOWN"),
        ("/", 404, "NOT_FOUND"),
    ],
)
async def test_errors(target: str, status: int, code: str) -> None:
    """Every refusal has the specification's shape and one of its codes."""
    async with serving(upstream()) as s:
        reply = await s.ask("GET", target)

    (error,) = json.loads(reply.body)["errors"]
    assert (reply.status, reply.header("Content-Type"), error["code"]) == (status, "application/json", code)
    assert set(error) == {"code", "message", "detail"}
    assert reply.header("WWW-Authenticate") is None


@pytest.mark.parametrize(("hold", "status"), [(Hold(12.0, Problem.RATE_LIMITED), 503), (None, 502)])
async def test_trouble(hold: Hold | None, status: int) -> None:
    """An upstream in trouble is 503 with a time, or 502; and a line in the log."""
    async with serving(upstream()) as s:
        s.world.upstream.hold = hold
        s.world.upstream.problems["get_manifest"] = Unavailable("down")
        reply = await s.ask("GET", TAG)

    assert (reply.status, reply.header("Retry-After")) == (status, "12" if hold else None)
    assert reply.header("Obol-Problem") == ("rate-limited" if hold else None)


@pytest.mark.parametrize("target", ["/v2/", "/v2"])
async def test_ping(target: str) -> None:
    """Whether this is a registry is answered without any upstream."""
    async with serving(upstream(), offline=True) as s:
        reply = await s.ask("GET", target)

        assert (reply.status, reply.body, reply.header("Content-Type")) == (200, b"{}", "application/json")
        assert s.world.upstream.asked == []


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:80", "", "10.9.9.9"])
@pytest.mark.parametrize("target", [TAG, "/v2/", "/healthz"])
async def test_foreign_host(host: str, target: str) -> None:
    """A request that names another host is refused on every route."""
    async with serving(upstream()) as s:
        reply = await s.ask("GET", target, host_header=host)

        assert reply.status in {400, 421}
        assert s.world.upstream.asked == []


async def test_namespace() -> None:
    """A client that says which registry it means is told so in return; another one is unknown, and never asked."""
    async with serving(upstream("registry.test"), upstream("other.test")) as s:
        for target in (*PULLED, PULLED[3]):
            assert (await s.ask("GET", f"{target}?ns=Registry.test.")).header("OCI-Namespace") == "registry.test"
        for ns in ("other.test", "169.254.169.254", "localhost:22"):
            assert (await s.ask("GET", f"{TAG}?ns={ns}")).status == 404
        assert s.world.upstreams[1].asked == []
        assert (await s.ask("GET", TAG)).header("OCI-Namespace") is None


async def test_ports_are_apart() -> None:
    """The same name on two ports is two images, also when both are ready."""
    other = FakeUpstream("other.test")
    other.add("team/app", "v1", MOVED)
    async with serving(upstream(), other) as s:
        async with session(s.ports[0]) as one, session(s.ports[1]) as two:
            for _ in range(3):
                assert (await one.ask("GET", TAG)).body == IMAGE.index.body
                assert (await two.ask("GET", TAG)).body == MOVED.index.body


async def test_lists() -> None:
    """The link to the next page is ours, and keeps the registry that the client named."""
    one = upstream()
    one.lists["team/app/tags/list?n=1"] = Listing(b'{"tags":["a"]}', "application/json", "?n=1&last=a")
    target = f"team/app/referrers/{IMAGE.top}?artifactType=a%2Fb"
    one.lists[target] = Listing(b'{"manifests":[]}', OCI_INDEX, None, filtered=True)
    async with serving(one) as s:
        plain = await s.ask("GET", "/v2/team/app/tags/list?n=1")
        named = await s.ask("GET", "/v2/team/app/tags/list?n=1&ns=registry.test")
        referrers = await s.ask("GET", f"/v2/{target}")

    assert plain.header("Link") == '</v2/team/app/tags/list?n=1&last=a>; rel="next"'
    assert named.header("Link") == '</v2/team/app/tags/list?n=1&last=a&ns=registry.test>; rel="next"'
    assert (referrers.header("OCI-Filters-Applied"), referrers.header("Content-Type")) == ("artifactType", OCI_INDEX)


async def test_stale_is_marked() -> None:
    """What is served in place of an answer that could not be had says so."""
    async with serving(upstream(), tag_ttl=0.0) as s:
        await s.ask("GET", TAG)
        s.world.upstream.problems["head_manifest"] = Unavailable("down")
        reply = await s.ask("GET", TAG)

    assert (reply.status, reply.header("Obol-Cache"), (reply.header("Warning") or "")[:3]) == (200, "stale", "110")


async def test_page() -> None:
    """A page beside the registry is given as it is; it is no path that can be posted to."""

    async def page() -> tuple[int, str, bytes]:
        return 200, "text/x", b"hello"

    async with serving(upstream(), pages={"/page": page}) as s:
        reply = await s.ask("GET", "/page")
        assert (reply.status, reply.body, reply.header("Content-Type")) == (200, b"hello", "text/x")
        assert (await s.ask("POST", "/page")).status == 404


async def test_never_encoded() -> None:
    """Whatever encodings a client takes, bytes are sent as they are."""
    async with serving(upstream()) as s:
        for target in (*PULLED, *REST):
            reply = await s.ask("GET", target, ("Accept-Encoding", "zstd, gzip, br"))
            assert reply.header("Content-Encoding") is None


async def test_date() -> None:
    """Every answer has one Date, that of the wall clock."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        for _ in range(3):
            s.world.clock.advance(1.0)
            reply = await client.ask("GET", TAG)
            dates = [value for name, value in reply.headers if name == "Date"]
            assert [parsedate_to_datetime(date).timestamp() for date in dates] == [s.world.clock.wall() // 1]


@pytest.mark.parametrize(
    ("version", "sent", "told", "kept"),
    [
        ("1.1", None, None, True),
        ("1.1", "close", "close", False),
        ("1.0", None, "close", False),
        ("1.0", "keep-alive", "keep-alive", True),
    ],
)
@pytest.mark.parametrize("target", [TAG, PULLED[3], REST[3]])
async def test_connection(target: str, version: str, sent: str | None, told: str | None, kept: bool) -> None:
    """The connection is kept or closed as the client's version of HTTP and its words ask, and the answer tells it."""
    headers = [] if sent is None else [("Connection", sent)]
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        await warm(s)
        for _ in range(2 if kept else 1):
            reply = await client.ask("GET", target, *headers, version=version)
            assert (reply.header("Connection"), reply.complete) == (told, True)
        if not kept:
            async with asyncio.timeout(scaled(1)):
                assert await client.reader.read() == b""


async def test_ready_manifest() -> None:
    """Within the time of its tag a manifest is given again without the engine, and counted like any other."""
    async with serving(upstream(), tag_ttl=60.0) as s, session(s.ports[0]) as client:
        replies = [await client.ask("GET", TAG) for _ in range(5)]
        counters = s.world.scope.counters
        assert len({reply.body for reply in replies}) == 1
        assert [reply.header("Obol-Cache") for reply in replies] == ["miss", *["hit"] * 4]
        assert {str(fields(reply)) for reply in replies} == {str(fields(replies[0]))}
        assert (counters.miss, counters.hit) == (1, 4)
        assert counters.bytes_from_cache == 4 * len(IMAGE.index.body)

        s.world.upstream.add("team/app", "v1", MOVED)
        s.world.clock.advance(59.9)
        assert (await client.ask("GET", TAG)).body == IMAGE.index.body
        s.world.clock.advance(0.1)
        assert (await client.ask("GET", TAG)).body == MOVED.index.body


async def test_ready_head() -> None:
    """A ready HEAD has no body, so that the next answer on the connection is understood."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        heads = [await client.ask("HEAD", TAG) for _ in range(4)]
        assert (await client.ask("GET", TAG)).body == IMAGE.index.body

    assert {head.header("Content-Length") for head in heads} == {str(len(IMAGE.index.body))}


async def test_ready_is_by_accept() -> None:
    """What is ready for one list of types is not given for another, nor for the same one written otherwise."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        for accept in (OCI_INDEX, DOCKER_MANIFEST, OCI_INDEX):
            assert (await client.ask("GET", TAG, ("Accept", accept))).status == 200
        assert s.kept() == 4
        await client.ask("GET", TAG, ("Accept", f"a/b\r\nAccept: {OCI_INDEX}"))
        assert s.kept() == 6


@pytest.mark.parametrize("ttl", [0.0, -1.0])
async def test_not_kept_without_time(ttl: float) -> None:
    """With no time for tags, nothing by tag is kept ready."""
    async with serving(upstream(), tag_ttl=ttl) as s, session(s.ports[0]) as client:
        for _ in range(2):
            await client.ask("GET", TAG)

        assert s.kept() == 0


async def test_ready_use_is_remembered() -> None:
    """A ready manifest counts as used, for eviction."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        await client.ask("GET", TAG)
        s.world.engine._uses.clear()
        await client.ask("GET", TAG)

        assert {digest for _, digest in s.world.engine._uses} == {IMAGE.top}


async def test_ready_key_has_the_host() -> None:
    """A ready answer is not given to a request that names a foreign host."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        await client.ask("GET", TAG)

        assert (await client.ask("GET", TAG, ("Host", "attacker.example"))).status == 421


async def test_body_that_nobody_wants() -> None:
    """A request with a body that is refused leaves the connection in order."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        refused = await client.ask("PUT", TAG, ("Content-Length", "0"))
        after = await client.ask("GET", TAG)

    assert (refused.status, after.status) == (405, 200)
