import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.upstream.connector import HEAD_LIMIT
from obol.registry.upstream.guard import ForbiddenAddress, forbidden, is_public, public_socket
from obol.registry.upstream.ports import Misbehaved, Unavailable
from obol.registry.upstream.reading import read_bounded
from obol.registry.upstream.transport import Transport, translate
from tests.limits import scaled
from tests.unit.registry.upstream.reach import transport_to


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.1.2.3",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "0.1.2.3",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:0",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "100::1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "",
    ],
)
def test_addresses_of_the_machine_and_its_networks_are_not_public(address: str) -> None:
    """Loopback, private, link-local, shared, reserved, in whatever wrapping; and what is no address at all."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "99.255.255.255", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """An address that anybody can reach may be connected to, also where it is wrapped in IPv6."""
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_changes_nothing(address: ipaddress.IPv4Address) -> None:
    """An IPv4 address is as public in each of its IPv6 forms as it is bare."""
    number = int(address)
    wrapped = [
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80),
    ]

    assert {is_public(str(form)) for form in wrapped} == {is_public(str(address))}


@given(st.ip_addresses().map(str) | st.text(max_size=40))
def test_any_text_has_an_answer(text: str) -> None:
    """Whatever a resolver says, the question is answered."""
    assert is_public(text) in {True, False}


def test_a_socket_for_a_public_address_is_made() -> None:
    """A resolved address of the internet gets its socket, not yet connected."""
    with public_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("1.1.1.1", 443))) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET6, ("fe80::1", 80, 0, 2))]
)
def test_a_socket_for_another_address_is_refused(family: int, address: tuple[str, int]) -> None:
    """No socket is made for an address that is not public."""
    with pytest.raises(ForbiddenAddress, match="not a public address"):
        public_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address))


def test_a_proxy_may_answer_for_a_name_with_an_address_of_its_own() -> None:
    """Behind a proxy that works by a network interface every name leads to 198.18.0.0/15; no literal may."""
    with public_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("198.18.0.56", 443))) as made:
        assert made.family == socket.AF_INET

    assert not is_public("198.18.0.56")


def test_a_refusal_tells_how_to_trust_a_host() -> None:
    """Whoever knows that a host is theirs is told the option and the variable."""
    told = forbidden("cdn.corp.example")

    assert "--allow-host cdn.corp.example" in told
    assert "OBOL_CACHE_ALLOW_HOST=cdn.corp.example" in told
    assert len(forbidden("x" * 10_000)) < 1000


KEY = ConnectionKey("secret.example", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("problem", "way_out"),
    [
        (aiohttp.ClientConnectorError(KEY, ForbiddenAddress("x")), "--allow-host secret.example "),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("x")), "ca-file"),
        (aiohttp.ClientHttpProxyError(cast("aiohttp.RequestInfo", None), (), status=407), "proxy in [cache.upstreams]"),
    ],
)
def test_a_refusal_names_the_setting_that_helps(problem: Exception, way_out: str) -> None:
    """Who may change a setting is told which one."""
    assert way_out in str(translate(problem))


def test_an_address_is_refused_with_its_way_out() -> None:
    """A literal address that is not public is refused by name, also one that proxies give for names."""
    transport = Transport.__new__(Transport)
    transport._known_hosts = frozenset({"127.0.0.1"})
    transport._https_only = False

    for host in ("10.0.0.1", "198.18.0.56", "[fd00:ec2::254]"):
        with pytest.raises(Misbehaved, match="--allow-host") as refusal:
            transport.check(f"http://{host}/x")
        assert host.strip("[]") in str(refusal.value)
    transport.check("http://127.0.0.1/x")


BODY = b"x" * (3 * HEAD_LIMIT)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@asynccontextmanager
async def speaking(*pieces: bytes, times: int = 1) -> AsyncIterator[str]:
    """The URL of a server that answers each request with these bytes, `times` over, whatever it is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for data in pieces * times:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 8000) for n in range(20)),
        b"HTTP/1.1 200 OK\r\nSet-Cookie: " + b"y" * (HEAD_LIMIT * 2),
    ],
    ids=["100 Continue", "103 Early Hints", "many lines", "one line"],
)
async def test_a_head_without_end_is_refused(flood: bytes) -> None:
    """Interim answers and header lines have a limit in all, so that no head keeps us busy."""
    async with speaking(flood, times=20_000) as url, transport_to(url) as transport:
        with pytest.raises(Unavailable, match="proper HTTP"):
            async with asyncio.timeout(scaled(1.5)):
                await transport.send("GET", f"{url}/v2/", {}, None)


@pytest.mark.parametrize("interim", [0, 3])
async def test_a_body_is_none_of_the_head(interim: int) -> None:
    """A body of any length passes, a few interim answers before it too, and the connection is used again."""
    async with (
        speaking(b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim + WHOLE) as url,
        transport_to(url) as transport,
    ):
        for _ in range(3):
            arrived = await transport.send("GET", f"{url}/v2/", {}, None)
            assert await read_bounded(arrived.response, len(BODY)) == BODY
