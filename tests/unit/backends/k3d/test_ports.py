from itertools import repeat

import pytest

from obol.backends.k3d.ports import Chosen, Taken, choose, holder_of
from obol.machine.docker.cli import Docker
from obol.rendering.k3d import WANTED_PORTS, PortMapping
from tests.fakes import docker as fake
from tests.fakes.k3dstack import FakePorts
from tests.fakes.runner import FakeRunner


async def test_a_container() -> None:
    """A container that publishes a port is named, not the proxy that Docker has before it."""
    runner = FakeRunner()
    fake.all_containers(runner, fake.container("somebody", port=80))

    assert await holder_of(Docker(runner), FakePorts(), 80) == "the container somebody"


async def test_a_process() -> None:
    """Otherwise it is the process, if we may see it; a Docker that does not answer is no trouble."""
    runner = FakeRunner()
    assert await holder_of(Docker(runner), FakePorts(), 80) == "nginx (pid 7)"

    runner.script("docker", "ps", code=1, stderr="Cannot connect to the Docker daemon")
    assert await holder_of(Docker(runner), FakePorts(), 443) == ""


def test_all_free() -> None:
    """What is free is published, and there is nothing to tell."""
    ports = FakePorts()

    assert choose(ports, ports.listens) == Chosen(tuple(PortMapping(*one) for one in WANTED_PORTS), 41000)


def test_busy() -> None:
    """Busy ports are dropped with a note, those that cannot be tried too; one is chosen where none is left."""
    ports = FakePorts(busy={443, 8443}, privileged={80})

    chosen = choose(ports, ports.listens)

    assert chosen.ingress == (PortMapping(8080, 80), PortMapping(41000, 443))
    assert chosen.taken == (Taken(80, (8080,)), Taken(443, (41000,)), Taken(8443, (41000,)))


def test_note() -> None:
    """A port that is taken is told of with who has it, if that is known, and with all that lead to the same."""
    assert Taken(80, (8080,)).note("nginx (pid 7)") == "Port 80 is taken by nginx (pid 7): use 8080 instead."
    assert Taken(443, (1, 2)).note("") == "Port 443 is taken: use 1 and 2 instead."


def test_api_port() -> None:
    """The API has a port of its own, also where the same one is picked again."""
    ports = FakePorts(busy={443, 8443}, spare=iter((41000, 41000, 8080, 41001)))

    chosen = choose(ports, ports.listens)

    assert chosen.ingress[-1] == PortMapping(41000, 443)
    assert chosen.api == 41001


def test_on_loopback() -> None:
    """Ports are looked for on loopback, where they are published: what holds one elsewhere is not in the way."""
    ports = FakePorts(busy={443, 8443})

    choose(ports, ports.listens)

    assert ports.addresses == {"127.0.0.1"}


def test_refused() -> None:
    """What Docker has refused is not tried again, also where it looks free; nor is it picked as a spare one."""
    ports = FakePorts(spare=iter((41000, 41001, 41002)))

    chosen = choose(ports, ports.listens, {443, 8443, 41000})

    assert chosen.ingress == (PortMapping(80, 80), PortMapping(8080, 80), PortMapping(41001, 443))
    assert chosen.all == {80, 8080, 41001, 41002}


def test_nothing_but_refused() -> None:
    """Where the system gives nothing but what was refused, there is no port."""
    ports = FakePorts(spare=repeat(41000))

    with pytest.raises(OSError, match="no port is free"):
        choose(ports, ports.listens, {41000})
