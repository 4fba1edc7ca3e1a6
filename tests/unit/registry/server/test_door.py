from __future__ import annotations

import asyncio
import errno
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from obol.machine.logs import Seldom
from obol.machine.tasks import spawn
from obol.registry.policy.shares import MOST_CONNECTIONS
from obol.registry.server import listeners as door_module
from obol.registry.server.listeners import Door
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually, scaled
from tests.unit.registry.server.serving import Serving, serving, session

if TYPE_CHECKING:
    import socket

    import pytest

    from obol.registry.server.listeners import Entrance
    from tests.unit.registry.server.serving import Session


def door(s: Serving) -> Door:
    """The door of all ports."""
    return s.listeners._door


def let_in_again(monkeypatch: pytest.MonkeyPatch, *, idle_for: float = 0.0, retry: float = 60.0) -> None:
    """Choose how soon a silent one has to leave, and when the door is looked at again."""
    monkeypatch.setattr(door_module, "IDLE_FOR", idle_for)
    monkeypatch.setattr(door_module, "RETRY", retry)


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
    entrance._listening = broken  # type: ignore[assignment]
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
