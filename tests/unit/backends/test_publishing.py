from __future__ import annotations

from obol.backends.publishing import Held, publish
from obol.rendering.podman import Port
from tests.unit.backends.podmanworld import FakePorts

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
    published = publish([GATEWAY], {GATEWAY: Held(41234, runs=True)}, FakePorts({41234}))

    assert published.ports == {GATEWAY: 41234}
    assert published.notes == ()


def test_earlier_port() -> None:
    """A workload that was stopped gets the port that people know, else the one that it had."""
    held = {GATEWAY: Held(41777, runs=False)}

    assert publish([GATEWAY], held, FakePorts()).ports == {GATEWAY: 4000}
    assert publish([GATEWAY], held, FakePorts({4000})).ports == {GATEWAY: 41777}


def test_two_that_want_the_same() -> None:
    """Of two workloads with the same port, the first has it."""
    other = Port("proxy", 4000)

    assert publish([GATEWAY, other], {}, FakePorts()).ports == {GATEWAY: 4000, other: 41234}
