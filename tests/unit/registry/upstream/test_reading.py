import asyncio
import gzip
import zlib

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.machine.tasks import spawn
from obol.registry.control.api import RateLimit
from obol.registry.policy.statuses import Meaning, Question
from obol.registry.upstream.ports import (
    Absent,
    Busy,
    Denied,
    MethodRefused,
    Misbehaved,
    RangesRefused,
    RateLimited,
    Unavailable,
    UpstreamError,
)
from obol.registry.upstream.reading import SMALL_BODY, decoded, drain, error, judge, rate_limit, read_bounded
from obol.registry.upstream.transport import Transport
from tests.fakes.behaviours import Behaviour, cut, endless_body, stall_mid_body
from tests.fakes.content import make_image
from tests.fakes.hostile import HostileRegistry
from tests.fakes.registry import FakeRegistry, Forced
from tests.unit.registry.upstream.reach import transport_to

WALL = 1_790_000_000.0
TEXT = b"some bytes " * 1000


async def answer(transport: Transport, server: FakeRegistry, path: str = "/v2/") -> aiohttp.ClientResponse:
    """The answer to a GET, its body not yet read."""
    return (await transport.send("GET", server.url + path, {}, None)).response


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (Meaning.ABSENT, Absent),
        (Meaning.DENIED, Denied),
        (Meaning.LIMITED, RateLimited),
        (Meaning.METHOD_REFUSED, MethodRefused),
        (Meaning.PATH_FAILS, Unavailable),
        (Meaning.BUSY, Unavailable),
        (Meaning.UNUSABLE, Misbehaved),
    ],
)
def test_a_meaning_stands_for_an_error(found: Meaning, kind: type[UpstreamError]) -> None:
    """Absent, denied, limited, broken or nonsense: each meaning has its error."""
    assert type(error(found, Question.MANIFEST, 418, None, WALL)) is kind


def test_a_refused_range_is_an_error_of_its_own() -> None:
    """Whoever asked for a range can ask without."""
    assert type(error(Meaning.METHOD_REFUSED, Question.RANGE, 403, None, WALL)) is RangesRefused


@pytest.mark.parametrize(("found", "kind"), [(Meaning.LIMITED, RateLimited), (Meaning.BUSY, Busy)])
def test_retry_after_names_the_seconds(found: Meaning, kind: type[RateLimited | Busy]) -> None:
    """What Retry-After says is in the error."""
    problem = error(found, Question.BLOB, 503, "17", WALL)

    assert isinstance(problem, kind)
    assert problem.seconds == 17.0


@pytest.mark.parametrize(("status", "words"), [(407, "proxy"), (451, "legal"), (402, "paid"), (418, "answered 418")])
def test_a_status_is_put_into_words(status: int, words: str) -> None:
    """Where a status tells a person more than its number, the error says so."""
    assert words in str(error(Meaning.DENIED, Question.MANIFEST, status, None, WALL))


@pytest.mark.parametrize("status", [200, 206])
async def test_a_good_answer_is_left_to_be_read(status: int) -> None:
    """Judging a good answer does nothing to it."""
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        server.status_for = {"/v2/": Forced(status, (), b"body")}
        response = await answer(transport, server)

        await judge(response, Question.BLOB, WALL)

        assert await read_bounded(response, 10) == b"body"


@pytest.mark.parametrize(
    "body", [b"", b'{"message":"no"}', b"<html>no</html>", b"\xff\xfe\x00", b"x" * SMALL_BODY], ids=len
)
async def test_the_body_of_an_error_does_not_matter(body: bytes) -> None:
    """Bodies of any shape are passed over, never quoted, and the connection is used again."""
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        server.status_for = {"/v2/": Forced(404, (), body)}
        for _ in range(3):
            response = await answer(transport, server)
            with pytest.raises(Absent, match=r"^the upstream does not have it$"):
                await judge(response, Question.BLOB, WALL)

        assert server.connections == 1


async def test_a_long_error_is_not_read() -> None:
    """The connection of an error of 10 MB is dropped."""
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        server.status_for = {"/v2/": Forced(500, (), b"x" * 10_000_000)}
        response = await answer(transport, server)

        with pytest.raises(Unavailable):
            await judge(response, Question.BLOB, WALL)

        assert response.closed
        assert not response.content.is_eof()


@pytest.mark.parametrize("behaviour", [cut(), cut(reset=True), stall_mid_body], ids=["cut", "reset", "stalled"])
async def test_draining_never_fails(behaviour: Behaviour) -> None:
    """A small body that breaks off or stalls is not waited for, and the error of it is nobody's."""
    async with HostileRegistry({"manifest": behaviour}) as server, transport_to(server.url) as transport:
        server.add("library/app", "1", make_image(10))
        response = await answer(transport, server, "/v2/library/app/manifests/1")

        await drain(response)

        assert response.closed


async def test_a_body_is_read_up_to_its_limit() -> None:
    """A body as long as the limit is whole; one byte more is refused."""
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        server.status_for = {"/v2/": Forced(200, (), TEXT)}

        assert await read_bounded(await answer(transport, server), len(TEXT)) == TEXT
        with pytest.raises(Misbehaved, match="too long"):
            await read_bounded(await answer(transport, server), len(TEXT) - 1)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (endless_body, Misbehaved),
        (cut(), Unavailable),
        (cut(reset=True), Unavailable),
        (stall_mid_body, Unavailable),
    ],
    ids=["endless", "cut", "reset", "stalled"],
)
async def test_a_broken_body_is_an_error_of_ours(behaviour: Behaviour, kind: type[UpstreamError]) -> None:
    """Endless, cut or silent: none of aiohttp's errors gets through, and the connection is dropped."""
    async with HostileRegistry({"manifest": behaviour}) as server, transport_to(server.url) as transport:
        server.add("library/app", "1", make_image(10))
        response = await answer(transport, server, "/v2/library/app/manifests/1")

        with pytest.raises(kind):
            await read_bounded(response, 100_000)

        assert response.closed


async def test_a_cancelled_reader_leaves_nothing_open() -> None:
    """Who stops reading half-way drops the connection."""
    async with HostileRegistry({"manifest": stall_mid_body}) as server, transport_to(server.url) as transport:
        server.add("library/app", "1", make_image(10))
        response = await answer(transport, server, "/v2/library/app/manifests/1")
        reading = spawn(read_bounded(response, 100_000), name="reading")
        await asyncio.sleep(0)

        reading.cancel()

        with pytest.raises(asyncio.CancelledError):
            await reading
        assert response.closed


@pytest.mark.parametrize(
    ("body", "encoding", "plain"),
    [
        (gzip.compress(TEXT, mtime=0), "gzip", TEXT),
        (gzip.compress(TEXT, mtime=0), "x-gzip", TEXT),
        (zlib.compress(TEXT), "deflate", TEXT),
        (gzip.compress(TEXT, mtime=0)[:-9], "gzip", None),
        (gzip.compress(TEXT, mtime=0), "", None),
        (gzip.compress(TEXT, mtime=0), "zstd", None),
        (TEXT, "gzip", None),
        (b"", "gzip", None),
        (gzip.compress(TEXT + b"!", mtime=0), "gzip", None),
    ],
)
def test_an_encoding_is_undone_within_bounds(body: bytes, encoding: str, plain: bytes | None) -> None:
    """Known encodings are undone; what is not what it says, cut short, or grows beyond the limit is not."""
    assert decoded(body, encoding, len(TEXT)) == plain


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}, RateLimit(100, 76)),
        ({"ratelimit-limit": " 100 ; w=21600 ", "ratelimit-remaining": "76"}, RateLimit(100, 76)),
        ({"ratelimit-remaining": "-1;w=21600"}, RateLimit(None, -1)),
        ({"ratelimit-limit": "200"}, RateLimit(200, None)),
        ({"ratelimit-limit": "many"}, None),
        ({"ratelimit-limit": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_the_rate_limit_is_read(headers: dict[str, str], told: RateLimit | None) -> None:
    """Docker Hub's two headers tell the budget; absent or odd ones tell nothing."""
    assert rate_limit(headers) == told


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_rate_limit_header_is_tolerated(limit: str, remaining: str) -> None:
    """No header raises."""
    rate_limit({"ratelimit-limit": limit, "ratelimit-remaining": remaining})
