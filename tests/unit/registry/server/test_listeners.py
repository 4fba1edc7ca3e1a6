from __future__ import annotations

import asyncio
import socket
from asyncio.trsock import TransportSocket

import pytest

from obol.errors import PortTaken
from obol.machine.tasks import spawn
from obol.registry.control.api import Listener
from obol.registry.server.listeners import _bind
from tests.fakes.content import blob as make_blob
from tests.fakes.http import request
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually, scaled
from tests.unit.registry.server.serving import Serving, serving, session

ABSENT = "192.0.2.1"
"""Of a network for documentation: no machine has it."""
DIGEST, DATA = make_blob(9500, "layer")
TARGET = f"/v2/team/app/blobs/{DIGEST}"


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_add_and_drop() -> None:
    """A port can be opened and closed while others serve; it is told with its real number."""
    async with serving() as s:
        added = await s.listeners.add(Listener("registry.test", "127.0.0.1", 0))
        assert added.port != 0
        assert added in s.listeners.list()
        assert (await request(added.port, "GET", "/v2/")).status == 200

        assert await s.listeners.drop(added)
        assert added not in s.listeners.list()
        with pytest.raises(OSError, match=r"."):
            await request(added.port, "GET", "/v2/")
        assert (await s.ask("GET", "/v2/")).status == 200


async def test_add_twice() -> None:
    """A port that is open already is left alone."""
    async with serving() as s:
        (first,) = s.listeners.list()

        assert await s.listeners.add(first) == first
        assert s.listeners.list() == [first]


async def test_drop_twice() -> None:
    """A port that is not open cannot be closed."""
    async with serving() as s:
        assert not await s.listeners.drop(Listener("registry.test", "127.0.0.1", 1))


async def test_port_taken() -> None:
    """A port that somebody else holds is told with its number and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with serving() as s:
            with pytest.raises(PortTaken, match=str(port)) as problem:
                await s.listeners.add(Listener("registry.test", "127.0.0.1", port))

    assert "--port" in problem.value.hint


async def test_absent_address() -> None:
    """An address that the machine does not have now can be listened on where that is allowed, and only there."""
    async with serving() as s:
        with pytest.raises(PortTaken):
            await s.listeners.add(Listener("registry.test", ABSENT, 0))

        added = await s.listeners.add(Listener("registry.test", ABSENT, 0), absent_address=True)

        assert added.port != 0
        assert s.hosts.ours(f"{ABSENT}:{added.port}")


def test_absent_address_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system knows no such option, a plain address works as ever."""
    monkeypatch.delattr(socket, "SOL_IP")

    _bind(Listener("registry.test", "127.0.0.1", 0), absent_address=True).close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
async def test_ipv6() -> None:
    """An address of IPv6 is one like any other, and ours in a Host header."""
    async with serving() as s:
        added = await s.listeners.add(Listener("registry.test", "::1", 0), absent_address=True)

        reply = await request(added.port, "GET", "/v2/", host="::1", host_header=f"[::1]:{added.port}")

    assert reply.status == 200


async def test_ports_of_one_registry_share() -> None:
    """Two ports of one registry share what is ready."""
    one = FakeUpstream()
    one.add_blob("team/app", DIGEST, DATA)
    async with serving(one) as s:
        added = await s.listeners.add(Listener("registry.test", "127.0.0.1", 0))

        assert added.port != s.ports[0]
        assert len(s.listeners._handlers) == 1


def accepted(s: Serving) -> TransportSocket:
    """The socket of the one connection."""
    (listening,) = s.listeners._open.values()
    (connection,) = listening.server.connections
    assert connection.transport is not None
    found = connection.transport.get_extra_info("socket")
    assert isinstance(found, TransportSocket)
    return found


async def test_no_delay() -> None:
    """Small answers leave at once: Nagle's algorithm is off on what is accepted."""
    async with serving() as s, session(s.ports[0]) as client:
        await client.ask("GET", "/v2/")

        assert accepted(s).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="not Linux")
async def test_congestion_control() -> None:
    """What is accepted does not pace what it sends, whatever the machine's default is."""
    async with serving() as s, session(s.ports[0]) as client:
        await client.ask("GET", "/v2/")

        assert accepted(s).getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"


async def test_congestion_control_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without the option, or one that refuses what is chosen, keeps its own."""
    monkeypatch.setattr("obol.registry.server.listeners.CONGESTION_CONTROL", b"no such")
    async with serving() as s:
        assert (await s.ask("GET", "/v2/")).status == 200
    monkeypatch.delattr(socket, "TCP_CONGESTION", raising=False)
    async with serving() as s:
        assert (await s.ask("GET", "/v2/")).status == 200


async def test_graceful_stop() -> None:
    """At the end nobody new is served, and a transfer under way may finish in time."""
    one = FakeUpstream()
    blob = one.add_blob("team/app", DIGEST, DATA)
    blob.hold(5000)
    async with serving(one) as s:
        client = spawn(s.ask("GET", TARGET), name="client")
        await eventually(lambda: blob.sent >= 5000)
        closing = spawn(s.listeners.close(), name="close")
        await asyncio.sleep(0.01)
        with pytest.raises(OSError, match=r"."):
            await s.ask("GET", "/v2/")
        blob.let_go()

        assert (await client).body == DATA
        await closing
        assert s.listeners.list() == []


async def test_stop_that_does_not_wait_for_ever() -> None:
    """A transfer that does not end in time is cut, and idle connections hold nothing up."""
    one = FakeUpstream()
    blob = one.add_blob("team/app", DIGEST, DATA)
    blob.hold(5000)
    async with serving(one) as s, session(s.ports[0]) as idle:
        await idle.ask("GET", "/v2/")
        client = spawn(s.ask("GET", TARGET), name="client")
        await eventually(lambda: blob.sent >= 5000)
        async with asyncio.timeout(scaled(1)):
            await s.listeners.close()

        reply = await client
        assert not reply.complete
        assert await idle.reader.read() == b""
