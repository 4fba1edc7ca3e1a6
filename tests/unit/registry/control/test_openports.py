import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obol.errors import PortTaken
from obol.registry.control.api import AccountRequest, Listener
from obol.registry.control.openports import LOOK_EVERY, MOST, Measuring, RememberedPorts, is_alive
from obol.registry.engine.accounts import MOST_OPEN
from obol.registry.store.layout import LISTENERS
from tests.fakes.content import blob
from tests.fakes.http import request
from tests.limits import eventually
from tests.unit.registry.server.serving import Serving, serving

HUB = Listener("docker.io", "172.30.0.1", 54100)
GHCR = Listener("ghcr.io", "172.30.0.1", 54101)
REGISTRIES = frozenset({"docker.io", "ghcr.io"})


class FakePorts:
    """Ports that are open."""

    def __init__(self) -> None:
        self.open: list[Listener] = []
        self.taken: set[int] = set()
        self.absent: list[bool] = []

    async def add(self, wanted: Listener, *, absent_address: bool = False) -> Listener:
        """Open one, unless it is taken; the number that was asked for is the real one."""
        if wanted.port in self.taken:
            raise PortTaken("taken")
        self.absent.append(absent_address)
        self.open.append(wanted)
        return wanted

    async def drop(self, settings: Listener) -> bool:
        return settings in self.open


@pytest.fixture
def ports() -> FakePorts:
    """None is open yet."""
    return FakePorts()


async def opened_by_the_next(store: Path, taken: frozenset[int] = frozenset()) -> FakePorts:
    """What the next engine on the store opens."""
    ports = FakePorts()
    ports.taken = set(taken)
    await RememberedPorts(ports, store, REGISTRIES).reopen()
    return ports


async def test_reopened(tmp_path: Path, ports: FakePorts) -> None:
    """The next engine opens what was open, although the address may not be there yet."""
    remembered = RememberedPorts(ports, tmp_path, REGISTRIES)
    assert await remembered.add(HUB) == HUB
    await remembered.add(GHCR)
    assert ports.absent == [True, True]

    found = await opened_by_the_next(tmp_path)

    assert found.open == [HUB, GHCR]
    assert found.absent == [True, True]


async def test_moved(tmp_path: Path, ports: FakePorts) -> None:
    """A registry that got another port on an address is opened there only."""
    moved = Listener("docker.io", HUB.address, 41000)
    remembered = RememberedPorts(ports, tmp_path, REGISTRIES)
    await remembered.add(HUB)
    await remembered.add(moved)

    assert (await opened_by_the_next(tmp_path)).open == [moved]


async def test_forgotten(tmp_path: Path, ports: FakePorts) -> None:
    """A registry that is not served any more is not opened."""
    remembered = RememberedPorts(ports, tmp_path, REGISTRIES)
    for one in (GHCR, Listener("quay.io", HUB.address, 54102)):
        await remembered.add(one)

    assert (await opened_by_the_next(tmp_path)).open == [GHCR]


async def test_taken(tmp_path: Path, ports: FakePorts) -> None:
    """One that is taken now keeps no other from being opened, and is tried again the next time."""
    remembered = RememberedPorts(ports, tmp_path, REGISTRIES)
    await remembered.add(HUB)
    await remembered.add(GHCR)

    assert (await opened_by_the_next(tmp_path, frozenset({HUB.port}))).open == [GHCR]
    assert (await opened_by_the_next(tmp_path)).open == [HUB, GHCR]


async def test_not_opened_is_not_remembered(tmp_path: Path, ports: FakePorts) -> None:
    """A port that could not be opened is nobody's."""
    ports.taken = {HUB.port}

    with pytest.raises(PortTaken):
        await RememberedPorts(ports, tmp_path, REGISTRIES).add(HUB)

    assert (await opened_by_the_next(tmp_path)).open == []


async def test_few(tmp_path: Path, ports: FakePorts) -> None:
    """The last ones are kept."""
    remembered = RememberedPorts(ports, tmp_path, REGISTRIES)
    many = [Listener("docker.io", f"172.30.{number}.1", 54100) for number in range(MOST + 2)]
    for one in many:
        await remembered.add(one)

    assert (await opened_by_the_next(tmp_path)).open == many[2:]


NO_PORT = '[{"registry": "docker.io", "address": "127.0.0.1", "port": 99999}]'
NO_ADDRESS = '[{"registry": "docker.io", "address": "nowhere", "port": 5}]'


@pytest.mark.parametrize("content", ["", "{", '[{"registry": 1}]', NO_PORT, NO_ADDRESS])
async def test_spoilt(tmp_path: Path, content: str) -> None:
    """A spoilt file remembers nothing."""
    (tmp_path / LISTENERS).write_text(content)

    assert (await opened_by_the_next(tmp_path)).open == []


async def test_not_writable(tmp_path: Path, ports: FakePorts) -> None:
    """A port is served although it cannot be written down."""
    remembered = RememberedPorts(ports, tmp_path / "gone", REGISTRIES)

    assert await remembered.add(HUB) == HUB


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
        assert not m.serving.world.engine.accounts.running


def test_processes_are_looked_for() -> None:
    """A process that runs is told from one that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(child.pid)
