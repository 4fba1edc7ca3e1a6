from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from obol.errors import PortTaken
from obol.registry.control.api import AccountRequest, Listener
from obol.registry.control.measuring import LOOK_EVERY, Measuring, is_alive
from obol.registry.engine.accounts import MOST_OPEN
from tests.fakes.content import blob
from tests.fakes.http import request
from tests.limits import eventually
from tests.unit.registry.server.serving import Serving, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OWN = Listener("registry.test", "127.0.0.1", 0)
COMMAND = 4711
DIGEST, DATA = blob(3000, "layer")


@dataclass
class Measured:
    """An engine that measures."""

    serving: Serving
    measuring: Measuring
    dead: set[int] = field(default_factory=set)

    async def reaches(self, port: int) -> bool:
        """Whether a client gets an answer on a port."""
        try:
            return (await request(port, "GET", "/v2/")).status == 200
        except OSError:
            return False


@asynccontextmanager
async def measured() -> AsyncIterator[Measured]:
    """Build one."""
    async with serving() as s:
        engine = s.world.engine
        dead: set[int] = set()
        measuring = Measuring(
            engine.open_account, engine.accounts, s.listeners, engine.clock, lambda pid: pid not in dead
        )
        try:
            yield Measured(s, measuring, dead)
        finally:
            await measuring.end()


async def test_an_account_comes_with_ports_of_its_own() -> None:
    """The ports answer while the account is open, and belong to it."""
    async with measured() as m:
        opened = await m.measuring.open(AccountRequest(COMMAND, (OWN,)))
        assert opened is not None
        (own,) = opened.listeners
        assert await m.reaches(own.port)
        assert m.measuring.owns(own)
        assert not m.measuring.owns(Listener(own.registry, own.address, m.serving.ports[0]))

        assert await m.measuring.close(opened.name) == opened
        await eventually(lambda: len(m.serving.listeners.list()) == 1)
        assert not await m.reaches(own.port)
        assert await m.measuring.close(opened.name) is None


async def test_what_was_given_is_told() -> None:
    """An account tells who was given what, where they asked."""
    async with measured() as m:
        m.serving.world.upstream.add_blob("team/app", DIGEST, DATA)
        opened = await m.measuring.open(AccountRequest(COMMAND, (OWN,)))
        assert opened is not None
        (own,) = opened.listeners
        await request(own.port, "GET", f"/v2/team/app/blobs/{DIGEST}")
        told = await m.measuring.close(opened.name)

    assert told is not None
    assert told.whole
    ((given),) = told.given
    assert (given.address, given.port, given.peer) == ("127.0.0.1", own.port, "127.0.0.1")
    assert (given.registry, given.held, given.fetched) == ("registry.test", 0, 3000)


async def test_an_account_ends_with_its_process() -> None:
    """The account and the ports of a command that died are closed when that is noticed."""
    async with measured() as m:
        opened = await m.measuring.open(AccountRequest(COMMAND, (OWN,)))
        other = await m.measuring.open(AccountRequest(COMMAND + 1, (OWN,)))
        assert opened is not None
        assert other is not None
        m.dead.add(COMMAND)
        m.serving.world.clock.advance(LOOK_EVERY)
        await eventually(lambda: len(m.serving.listeners.list()) == 2)

        assert await m.measuring.close(opened.name) is None
        assert await m.measuring.close(other.name) is not None


async def test_dead_commands_make_room() -> None:
    """Too many accounts are refused, unless the processes of some have ended."""
    async with measured() as m:
        for _ in range(MOST_OPEN):
            assert await m.measuring.open(AccountRequest(COMMAND, ())) is not None
        assert await m.measuring.open(AccountRequest(COMMAND + 1, ())) is None
        m.dead.add(COMMAND)
        assert await m.measuring.open(AccountRequest(COMMAND + 1, ())) is not None


async def test_without_its_ports_there_is_no_account() -> None:
    """Where one of its ports is taken, nothing stays open."""
    async with measured() as m:
        other = Listener("registry.test", "192.0.2.1", 1)
        with pytest.raises(PortTaken):
            await m.measuring.open(AccountRequest(COMMAND, (OWN, other)))
        await eventually(lambda: len(m.serving.listeners.list()) == 1)
        assert not m.serving.world.engine.accounts


def test_processes_are_looked_for() -> None:
    """A process that runs is told from one that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(child.pid)
