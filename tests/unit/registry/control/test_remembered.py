from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.errors import PortTaken
from obol.registry.control.api import Listener
from obol.registry.control.remembered import MOST, RememberedPorts
from obol.registry.store.layout import LISTENERS

if TYPE_CHECKING:
    from pathlib import Path

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
