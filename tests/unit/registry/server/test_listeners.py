import asyncio
import errno
import os
import socket
from asyncio.trsock import TransportSocket
from contextlib import AsyncExitStack

import pytest
import structlog

from obol.errors import PortTaken
from obol.machine.logs import Seldom
from obol.machine.tasks import spawn
from obol.registry.control.api import Listener
from obol.registry.policy.shares import MOST_CONNECTIONS
from obol.registry.server import listeners as listeners_module
from obol.registry.server.listeners import Door, Entrance, _bind
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.fakes.http import request
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually, scaled
from tests.unit.registry.server.serving import Serving, Session, serving, session

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


def door(s: Serving) -> Door:
    """The door of all ports."""
    return s.listeners._door


def let_in_again(monkeypatch: pytest.MonkeyPatch, *, idle_for: float = 0.0, retry: float = 60.0) -> None:
    """Choose how soon a silent one has to leave, and when the door is looked at again."""
    monkeypatch.setattr(listeners_module, "IDLE_FOR", idle_for)
    monkeypatch.setattr(listeners_module, "RETRY", retry)


async def test_one_leaves_and_one_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit clients wait, and are served as soon as somebody leaves; the log has one line of it."""
    let_in_again(monkeypatch, idle_for=60.0)
    with structlog.testing.capture_logs() as told:
        async with serving(connections=2) as s, session(s.ports[0]) as third:
            async with session(s.ports[0]) as first, session(s.ports[0]) as second:
                for one in (third, first):
                    assert (await one.ask("GET", "/v2/")).status == 200
                waiting = spawn(second.ask("GET", "/v2/"), name="second")
                await eventually(lambda: not door(s).is_open)
                assert not waiting.done()
                first.leave()
                assert (await waiting).status == 200
            await eventually(lambda: door(s).is_open)
            assert (await third.ask("GET", "/v2/")).status == 200

    assert [line["event"] for line in told] == ["clients wait"]


async def test_silent_ones_leave_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections on which nothing is asked, or only half a request came, keep nobody out; one that is busy stays."""
    let_in_again(monkeypatch)
    one = FakeUpstream()
    digest, data = make_blob(9000, "layer")
    blob = one.add_blob("team/app", digest, data)
    blob.hold(5000)
    async with serving(one, connections=4) as s, AsyncExitStack() as stack:
        busy = await stack.enter_async_context(session(s.ports[0]))
        busy.send(f"GET /v2/team/app/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await eventually(lambda: s.world.engine.transfers == 1)
        for number in range(30):
            silent = await stack.enter_async_context(session(s.ports[0]))
            silent.send(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n" if number % 2 else b"")

        async with asyncio.timeout(scaled(5)), session(s.ports[0]) as late:
            assert (await late.ask("GET", "/v2/")).status == 200
        assert door(s)._inside <= 4
        blob.let_go()
        assert (await busy.answer()).body == data


async def test_nobody_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are busy the door is looked at again after a while, not all the time."""
    let_in_again(monkeypatch, idle_for=60.0, retry=0.01)
    async with serving(connections=1) as s, session(s.ports[0]) as first:
        await first.ask("GET", "/v2/")
        async with session(s.ports[0]):
            for _ in range(3):
                await eventually(lambda: not door(s).is_open)
                await eventually(lambda: door(s).is_open)


class Exhausted:
    """A listening socket for which the system has no descriptor, until it has."""

    def __init__(self, listening: socket.socket, problem: int) -> None:
        self._listening = listening
        self._problem = problem
        self.failing = True
        self.tried = 0

    def fileno(self) -> int:
        return self._listening.fileno()

    def close(self) -> None:
        self._listening.close()

    def accept(self) -> tuple[socket.socket, object]:
        self.tried += 1
        if self.failing:
            raise OSError(self._problem, os.strerror(self._problem))
        return self._listening.accept()


async def served_in_the_end(s: Serving, entrance: Entrance, problem: int, client: Session) -> int:
    """Let the port fail with this error for a while; how often it was tried meanwhile."""
    broken = Exhausted(entrance._listening, problem)
    entrance._listening = broken  # type: ignore[assignment]  # a socket that breaks
    client.send(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: broken.tried >= 2)
    tried = broken.tried
    broken.failing = False
    assert (await client.answer()).status == 200
    return tried


async def test_no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no descriptors, or some other trouble, it is tried again now and then, and told once."""
    let_in_again(monkeypatch, idle_for=60.0, retry=0.01)
    for problem, lines in ((errno.EMFILE, 1), (errno.ENFILE, 1), (errno.EPROTO, 0)):
        with structlog.testing.capture_logs() as told:
            async with serving() as s:
                (listening,) = s.listeners._open.values()
                listening.pause()
                async with session(s.ports[0]) as client:
                    listening.resume()
                    assert await served_in_the_end(s, listening, problem, client) < 50

        assert [line["event"] for line in told] == ["clients wait"] * lines
        assert all("ulimit" in line["why"] for line in told)


async def test_most_of_all() -> None:
    """Who waits although there are descriptors is not told to ask for more of them."""
    with structlog.testing.capture_logs() as told:
        door = Door(MOST_CONNECTIONS, Seldom(FakeClock()))
        for _ in range(MOST_CONNECTIONS):
            assert door.has_room()
            door.entered()
        assert not door.has_room()
        door.left()
        assert door.is_open

    assert "ulimit" not in told[0]["why"]


async def test_connection_that_is_gone_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be set up counts as left."""
    async with serving() as s:

        async def refuse(*_: object) -> None:
            raise OSError(errno.EINVAL, "no")

        monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", refuse)
        async with session(s.ports[0]) as client:
            assert await client.reader.read() == b""
        assert door(s)._inside == 0
