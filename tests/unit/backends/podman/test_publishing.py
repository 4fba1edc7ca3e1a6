from collections.abc import Collection

import pytest

from obol.backends.podman.publishing import ATTEMPTS, HeldPort, Published, on_free_ports, publish
from obol.errors import PortTaken
from obol.rendering.podman import Port
from tests.unit.backends.podmanworld import FakePorts

GATEWAY, MONITORING = Port("litellm", 4000), Port("prometheus", 9090)


STOPPED, RUNS = {GATEWAY: HeldPort(41777, runs=False)}, {GATEWAY: HeldPort(41234, runs=True)}


@pytest.mark.parametrize(
    ("wanted", "held", "taken", "refused", "chosen"),
    [
        pytest.param((GATEWAY, MONITORING), {}, set(), (), (4000, 9090), id="free ports are used as they are"),
        pytest.param((GATEWAY,), RUNS, {41234}, (), (41234,), id="a workload that runs keeps its port"),
        pytest.param((GATEWAY,), STOPPED, set(), (), (4000,), id="one that was stopped gets the usual port"),
        pytest.param((GATEWAY,), STOPPED, {4000}, (), (41777,), id="or else the one that it had"),
        pytest.param((GATEWAY,), STOPPED, set(), {4000, 41777}, (41234,), id="refused ones are not tried again"),
        pytest.param((GATEWAY, Port("proxy", 4000)), {}, set(), (), (4000, 41234), id="of two the first has it"),
    ],
)
def test_choice(
    wanted: tuple[Port, ...],
    held: dict[Port, HeldPort],
    taken: set[int],
    refused: Collection[int],
    chosen: tuple[int, ...],
) -> None:
    """Each workload has the best port that it can have; where that is one it has or had, nothing is to be said."""
    published = publish(wanted, held, FakePorts(taken), refused)

    assert published.ports == dict(zip(wanted, chosen, strict=True))
    assert (published.notes == ()) == (41234 not in chosen or held is RUNS)


def test_taken() -> None:
    """A port that somebody has is named with its holder, where that is known, and another one is used."""
    published = publish([GATEWAY, MONITORING], {}, FakePorts({4000, 9090}))

    assert published.ports == {GATEWAY: 41234, MONITORING: 41235}
    back = "is free, `obol stack down` and `obol stack up` bring"
    assert published.notes == (
        f"Port 4000 is taken by nginx (pid 7): litellm answers on 41234 instead. Once 4000 {back} litellm back to it.",
        f"Port 9090 is taken: prometheus answers on 41235 instead. Once 9090 {back} prometheus back to it.",
    )


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
