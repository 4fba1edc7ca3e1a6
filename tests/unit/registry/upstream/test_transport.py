import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.settings import UpstreamSettings
from obol.registry.upstream.ports import Misbehaved, NoConnection, Unavailable, UpstreamError
from obol.registry.upstream.reading import read_bounded
from obol.registry.upstream.transport import MAX_REDIRECTS, Transport, translate
from tests.fakes.behaviours import (
    BAD_HEADERS,
    Behaviour,
    Exchange,
    closed_at_once,
    endless_headers,
    long_header,
    redirect_loop,
    redirect_to,
    redirects,
    reset_at_once,
    stall_before_headers,
)
from tests.fakes.hostile import HostileRegistry
from tests.fakes.registry import FakeRegistry, Forced
from tests.fakes.tls import make_certificate, secure_server
from tests.unit.registry.upstream.reach import LIMITS, NOWHERE, CountingLink, settings, transport_to

SECRET = "canary-of-the-test"
PING = "/v2/"


async def get(transport: Transport, url: str, authorization: str | None = None) -> int:
    """The status of the answer to a GET, its body read."""
    arrived = await transport.send("GET", url, {}, authorization)
    await read_bounded(arrived.response, 1 << 20)
    return arrived.response.status


async def test_requests_ask_for_no_encoding_and_say_who_asks() -> None:
    """Identity encoding only, one plain User-Agent, no cookie though the upstream sets one."""
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        server.status_for = {PING: Forced(200, (("Set-Cookie", "a=b"),))}

        await get(transport, server.url + PING)
        await get(transport, server.url + PING)

        assert [seen.header("Accept-Encoding") for seen in server.log] == ["identity"] * 2
        assert server.log[1].header("User-Agent") == "obol"
        assert server.log[1].header("Cookie") is None


async def test_an_encoded_body_arrives_as_it_was_sent() -> None:
    """Nothing is decompressed behind our back."""
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        server.status_for = {PING: Forced(200, (("Content-Encoding", "gzip"),), b"not gzip at all")}
        arrived = await transport.send("GET", server.url + PING, {}, None)

        assert await read_bounded(arrived.response, 100) == b"not gzip at all"


async def test_authorization_does_not_cross_to_another_origin() -> None:
    """A redirect to another port, too, is asked without the token; the answer says that it moved."""
    async with FakeRegistry() as registry, FakeRegistry() as storage, transport_to(registry.url) as transport:
        registry.status_for = {PING: Forced(307, (("Location", storage.url + PING),))}

        arrived = await transport.send("GET", registry.url + PING, {"Range": "bytes=0-0"}, "Bearer x")

        assert arrived.moved
        assert arrived.url == storage.url + PING
        assert registry.log[0].header("Authorization") == "Bearer x"
        assert storage.log[0].header("Authorization") is None
        assert storage.log[0].header("Range") == "bytes=0-0"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_relative_redirect_stays_at_its_origin(status: int) -> None:
    """Each kind of redirect is followed, and within one origin the token goes along."""
    link = CountingLink()
    async with FakeRegistry(link) as server, transport_to(server.url) as transport:
        server.status_for = {"/start": Forced(status, (("Location", "/v2/?a=%2F#part"),), b"moved")}

        arrived = await transport.send("GET", server.url + "/start", {}, "Bearer x")

        assert not arrived.moved
        assert arrived.url == server.url + "/v2/?a=%2F"
        assert server.log[1].target == "/v2/?a=%2F"
        assert server.log[1].header("Authorization") == "Bearer x"
        assert link.made == 1


async def test_a_location_is_used_byte_for_byte() -> None:
    """Neither one redirect nor two change a byte of a presigned URL, however odd or long (12 KB)."""
    odd = "/v2/?a=%2f%2F%7E~+%20%C3%A4&b='()!*;:@,$[]|{}&c=" + "x" * 12_000
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        server.status_for = {
            "/one": Forced(307, (("Location", server.url + odd.replace("/v2/", "/two")),)),
            "/two": Forced(307, (("Location", server.url + odd),)),
        }

        await get(transport, server.url + "/one")

        assert [seen.target for seen in server.log[1:]] == [odd.replace("/v2/", "/two"), odd]


async def test_redirects_have_a_limit() -> None:
    """Ten are followed, the eleventh is not."""
    hostile = HostileRegistry({"ping": redirects(MAX_REDIRECTS)})
    async with hostile as server, transport_to(server.url) as transport:
        assert await get(transport, server.url + PING) == 200

        server.behaviours["ping"] = redirects(MAX_REDIRECTS + 1)
        with pytest.raises(Misbehaved, match="circle"):
            await get(transport, server.url + PING)


async def test_a_redirect_loop_is_noticed_at_once() -> None:
    """A redirect to where we come from is not followed."""
    async with HostileRegistry({"ping": redirect_loop}) as server, transport_to(server.url) as transport:
        with pytest.raises(Misbehaved, match="circle"):
            await get(transport, server.url + PING)

        assert server.count() == 1


BAD_LOCATIONS = [
    "",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "http://",
    "http://[::1",
    "//[::1",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:x/",
    f"http://user:{SECRET}@127.0.0.1/",
    "http://example.com/a b",
    "http://example.com/\u00e4",
    "http://169.254.169.254/latest/meta-data/",
    "//169.254.169.254/latest/meta-data/",
    "HTTP://10.0.0.1/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[fe80::1]/",
    "http://0.0.0.0/",
    "http://0/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.16689662/",
    "http://100.64.0.1/",
    "https://192.168.1.1/",
    "x" * 20_000,
]


@pytest.mark.parametrize("location", BAD_LOCATIONS, ids=lambda text: ascii(text)[:30])
async def test_a_bad_redirect_is_not_followed(location: str) -> None:
    """No URL, no http, userinfo, or an address that is not public in any spelling: refused, and not quoted."""
    async with HostileRegistry({"ping": redirect_to(location)}) as server, transport_to(server.url) as transport:
        with pytest.raises(Misbehaved) as told:
            await get(transport, server.url + PING)

        assert SECRET not in str(told.value)
        assert server.count() == 1


async def test_a_name_that_leads_to_a_private_address_is_refused_when_connecting() -> None:
    """What the name resolves to is looked at, on every address that it has."""
    async with FakeRegistry() as registry, FakeRegistry() as inside, transport_to(registry.url) as transport:
        registry.status_for = {PING: Forced(307, (("Location", f"http://localhost:{inside.port}/v2/"),))}

        with pytest.raises(Misbehaved, match="not public"):
            await get(transport, registry.url + PING)

        assert inside.log == []


async def test_an_allowed_host_may_be_private() -> None:
    """Hosts that were allowed by name may be anywhere."""
    allowed = frozenset({"localhost"})
    async with FakeRegistry() as registry, transport_to(registry.url, allowed=allowed) as transport:
        registry.status_for = {"/start": Forced(307, (("Location", f"http://localhost:{registry.port}/v2/"),))}

        assert await get(transport, registry.url + "/start") == 200


async def test_https_is_not_left() -> None:
    """From https nothing leads to http, whatever the letters' case; http may lead to https."""
    async with transport_to("https://registry.example") as transport:
        for location in ("http://registry.example/x", "HTTP://registry.example/x", "http://cdn.example/x"):
            with pytest.raises(Misbehaved):
                transport._next_hop("https://registry.example/v2/", location)

        onward = "HTTPS://cdn.example/%7Ex"
        assert transport._next_hop("https://registry.example/v2/", onward) == onward
        assert transport._next_hop("http://registry.example/v2/", onward) == onward
        with pytest.raises(Misbehaved, match="itself reached by https"):
            transport.check("http://auth.example/token")


pieces = st.sampled_from(
    ["http:", "HTTPS:", "file:", "//", "/", "..", "[", "]", "::1", "@", ":", "?", "#", "%", "%2F", "\\"]
)
hosts = st.sampled_from(["127.0.0.1", "registry", "99999", "a.b", "\u00e4", " ", ""])


@given(st.text(max_size=20) | st.lists(pieces | hosts, max_size=8).map("".join))
def test_any_location_is_followed_or_refused(location: str) -> None:
    """Whatever a Location holds, it leads to an http URL or to our own error."""
    transport = Transport.__new__(Transport)
    transport._known_hosts = frozenset({"127.0.0.1"})
    transport._https_only = False

    try:
        onward = transport._next_hop("http://127.0.0.1:1/v2/", location)
    except Misbehaved:
        return
    assert onward.lower().startswith(("http://", "https://"))


async def test_a_proxy_is_used_for_everything() -> None:
    """The proxy gets whole URLs, also of redirects, and may itself be on a private network."""
    async with FakeRegistry() as proxy:
        proxy.status_for = {
            "registry.test": Forced(307, (("Location", "http://storage.test/blob"),)),
            "storage.test": Forced(200, (), b"content"),
        }
        proxied = replace(settings("http://registry.test"), proxy=proxy.url)
        async with transport_to(proxied) as transport:
            assert await get(transport, "http://registry.test/v2/", "Bearer x") == 200

        assert [seen.target for seen in proxy.log] == ["http://registry.test/v2/", "http://storage.test/blob"]
        assert proxy.log[1].header("Authorization") is None


async def test_no_connection_may_pass() -> None:
    """A port that nobody listens on is Unavailable, in words without a URL."""
    async with FakeRegistry() as server, transport_to(server.url) as transport:
        await server.down()

        with pytest.raises(Unavailable, match=r"^no connection to the upstream \(.*\)$") as told:
            await get(transport, f"{server.url}/v2/?{SECRET}")

        assert SECRET not in str(told.value)
        assert "127.0.0.1" not in str(told.value)
        await server.up()
        assert await get(transport, server.url + PING) == 200


async def test_a_name_that_does_not_exist_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address is Unavailable: resolvers fail, too."""
    async with transport_to("http://upstream") as transport:
        monkeypatch.setattr(transport._known.connector, "_resolve_host", unresolved)

        with pytest.raises(Unavailable, match="no connection"):
            await get(transport, "http://upstream/v2/")


async def unresolved(*_: object, **__: object) -> list[object]:
    """A resolver that knows nothing."""
    raise OSError(None, "no such name")


@pytest.mark.parametrize("span", ["bytes=5-", "bytes=0-9"])
async def test_silence_is_not_waited_out(span: str) -> None:
    """An upstream that takes the request and says nothing is Unavailable after the idle limit, however late."""
    limits = replace(LIMITS, idle=0.05, late_answer=9.0)
    async with HostileRegistry({"ping": stall_before_headers}) as server, transport_to(server.url, limits) as transport:
        with pytest.raises(Unavailable, match="in time"):
            await transport.send("GET", server.url + PING, {"Range": span}, None)


@pytest.mark.parametrize(
    "behaviour",
    [
        closed_at_once,
        reset_at_once,
        endless_headers,
        long_header,
        BAD_HEADERS["negative length"],
        BAD_HEADERS["double length"],
    ],
    ids=["closed", "reset", "endless", "long", "negative", "double"],
)
async def test_a_broken_head_is_an_error_of_ours(behaviour: Behaviour) -> None:
    """A connection that ends, or brings what is not HTTP, may be better next time."""
    async with HostileRegistry({"ping": behaviour}) as server, transport_to(server.url) as transport:
        with pytest.raises(Unavailable):
            await get(transport, server.url + PING)


async def test_a_stale_connection_is_replaced_unnoticed() -> None:
    """Where a kept connection turns out to be closed, the request is sent once more on a new one."""
    calls = 0

    async def second_time_closed(exchange: Exchange) -> None:
        nonlocal calls
        calls += 1
        await (closed_at_once(exchange) if calls == 2 else exchange.say(exchange.honest))

    async with HostileRegistry({"ping": second_time_closed}) as server, transport_to(server.url) as transport:
        assert await get(transport, server.url + PING) == 200
        assert await get(transport, server.url + PING) == 200

        assert server.count() == 3


async def test_closing_drops_the_connections() -> None:
    """Afterwards the upstream sees nobody."""
    async with FakeRegistry() as server:
        async with transport_to(server.url) as transport:
            await get(transport, server.url + PING)
            assert server.connections == 1

        for _ in range(100):
            await asyncio.sleep(0)
        assert server.connections == 0


@pytest.mark.tool("openssl")
async def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    """A self-signed upstream is refused for good; with its certificate it is accepted, but only under its own name."""
    certificate = make_certificate(tmp_path)
    async with secure_server(certificate) as port:
        plain = settings(f"https://127.0.0.1:{port}")
        trusting = UpstreamSettings("registry.test", f"https://127.0.0.1:{port}", ca_file=certificate)
        misnamed = UpstreamSettings("registry.test", f"https://localhost:{port}", ca_file=certificate)

        async with transport_to(plain) as transport:
            with pytest.raises(Unavailable, match="certificate"):
                await get(transport, f"{plain.url}/v2/")
        async with transport_to(trusting) as transport:
            assert await get(transport, f"{trusting.url}/v2/") == 200
        async with transport_to(misnamed) as transport:
            with pytest.raises(Unavailable, match="certificate"):
                await get(transport, f"{misnamed.url}/v2/")


async def test_own_certificates_come_on_top_of_the_systems(tmp_path: Path) -> None:
    """A file that holds no certificate is an error at once, not a silent loss of trust."""
    empty = tmp_path / "none.pem"
    empty.write_text("")

    with pytest.raises(ssl.SSLError):
        Transport(UpstreamSettings("registry.test", NOWHERE, ca_file=empty), LIMITS, frozenset())


KEY = ConnectionKey("secret.example", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("problem", "kind", "text"),
    [
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("x")), NoConnection, "certificate"),
        (aiohttp.ClientConnectorSSLError(KEY, OSError("x")), NoConnection, "certificate"),
        (aiohttp.ClientConnectorError(KEY, OSError(24, SECRET)), Unavailable, "too many files"),
        (aiohttp.ClientConnectorError(KEY, OSError(113, SECRET)), NoConnection, "No route to host"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(None, SECRET)), NoConnection, "looked up"),
        (aiohttp.ClientProxyConnectionError(KEY, OSError(None, None)), NoConnection, "refused"),
        (aiohttp.ConnectionTimeoutError(SECRET), Unavailable, "in time"),
        (aiohttp.SocketTimeoutError(SECRET), Unavailable, "in time"),
        (TimeoutError(SECRET), Unavailable, "in time"),
        (aiohttp.ServerDisconnectedError(SECRET), Unavailable, "cut"),
        (aiohttp.ClientOSError(104, SECRET), Unavailable, "cut"),
        (aiohttp.ClientPayloadError(SECRET), Unavailable, "cut"),
        (aiohttp.InvalidURL(SECRET), Unavailable, "InvalidURL"),
        (aiohttp.ClientConnectionError(SECRET), Unavailable, "ClientConnectionError"),
        (ValueError(SECRET), Unavailable, "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_foreign_errors_are_translated(problem: Exception, kind: type[UpstreamError], text: str) -> None:
    """Each of aiohttp's errors is one of ours, and no text of theirs, which may hold a URL, is passed on."""
    ours = translate(problem)

    assert isinstance(ours, kind)
    assert text in str(ours)
    assert SECRET not in str(ours)
    assert "secret.example" not in str(ours)
