from __future__ import annotations

from obol.backends.k3d.ports import holder_of
from obol.machine.docker import Docker
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
