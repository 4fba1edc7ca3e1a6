from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.backends.podman.publishing import ATTEMPTS, HeldPort, Published, on_free_ports, publish
from obol.errors import PortTaken
from obol.rendering.podman import Port
from tests.unit.backends.podmanworld import FakePorts

if TYPE_CHECKING:
    from collections.abc import Collection

GATEWAY, MONITORING = Port("litellm", 4000), Port("prometheus", 9090)


def test_usual_ports() -> None:
    """Ports that are free are used as they are, and nothing is to be said."""
    published = publish([GATEWAY, MONITORING], {}, FakePorts())

    assert published.ports == {GATEWAY: 4000, MONITORING: 9090}
    assert published.notes == ()


def test_taken() -> None:
    """A port that somebody has is named with its holder, where that is known, and another one is used."""
    published = publish([GATEWAY, MONITORING], {}, FakePorts({4000, 9090}))

    assert published.ports == {GATEWAY: 41234, MONITORING: 41235}
    assert published.notes == (
        "Port 4000 is taken by nginx (pid 7): litellm answers on 41234 instead.",
        "Port 9090 is taken: prometheus answers on 41235 instead.",
    )


def test_own_port() -> None:
    """A workload that runs has its port itself, so that it counts as taken, and keeps it."""
    published = publish([GATEWAY], {GATEWAY: HeldPort(41234, runs=True)}, FakePorts({41234}))

    assert published.ports == {GATEWAY: 41234}
    assert published.notes == ()


def test_earlier_port() -> None:
    """A workload that was stopped gets the port that people know, else the one that it had."""
    held = {GATEWAY: HeldPort(41777, runs=False)}

    assert publish([GATEWAY], held, FakePorts()).ports == {GATEWAY: 4000}
    assert publish([GATEWAY], held, FakePorts({4000})).ports == {GATEWAY: 41777}


def test_two_that_want_the_same() -> None:
    """Of two workloads with the same port, the first has it."""
    other = Port("proxy", 4000)

    assert publish([GATEWAY, other], {}, FakePorts()).ports == {GATEWAY: 4000, other: 41234}


def test_refused() -> None:
    """A port that the runtime has refused is not tried again, though it looks free."""
    assert publish([GATEWAY], {GATEWAY: HeldPort(41777, runs=False)}, FakePorts(), {4000, 41777}).ports == {
        GATEWAY: 41234
    }


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("rootlessport listen tcp 127.0.0.1:4000: bind: address already in use", {4000}),
        ("address already in use", {4000, 9090}),
    ],
)
async def test_taken_in_between(said: str, refused: set[int]) -> None:
    """Where somebody takes a port between the choice and its use, only what was refused is chosen anew."""
    asked: list[Collection[int]] = []

    async def choose(without: Collection[int]) -> Published:
        asked.append(without)
        return publish([GATEWAY, MONITORING], {}, FakePorts(), without)

    async def use(published: Published) -> None:
        if published.ports[GATEWAY] == 4000:
            raise PortTaken("podman cannot start litellm", why=said)

    published = await on_free_ports(choose, use)

    assert asked == [set(), refused]
    assert published.ports[GATEWAY] == 41234


async def test_taken_again_and_again() -> None:
    """After some attempts it is enough."""
    asked: list[Collection[int]] = []

    async def choose(without: Collection[int]) -> Published:
        asked.append(without)
        return publish([GATEWAY], {}, FakePorts(), without)

    async def use(published: Published) -> None:
        raise PortTaken("podman cannot start litellm", why="address already in use")

    with pytest.raises(PortTaken):
        await on_free_ports(choose, use)

    assert len(asked) == ATTEMPTS
