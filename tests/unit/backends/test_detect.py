import os

from obol.backends.detect import LIMIT, detect
from obol.backends.ports import Program, Runtimes
from obol.errors import ObolError
from obol.machine.commands import Completed
from tests.fakes.runner import FakeRunner


async def test_all_there() -> None:
    """Each program is asked once, within a limit, and tells its version."""
    runner = FakeRunner()
    runner.script("docker", stdout="27.3.1\n")
    runner.script("k3d", stdout="k3d version v5.9.0\nk3s version v1.35.5-k3s1 (default)\n")
    runner.script("podman", stdout="4.9.3\n")
    runner.script("k3s", stdout="k3s version v1.35.5+k3s1 (b3f4d7a0)\ngo version go1.25.5\n")

    found = await detect(runner)

    assert found == Runtimes(
        (
            Program("docker", version="27.3.1"),
            Program("k3d", version="5.9.0"),
            Program("podman", version="4.9.3"),
            Program("k3s", version="1.35.5+k3s1"),
        ),
        is_root=os.geteuid() == 0,
    )
    assert [(ran.argv[0], ran.timeout) for ran in runner.ran] == [
        ("docker", LIMIT),
        ("k3d", LIMIT),
        ("podman", LIMIT),
        ("k3s", LIMIT),
    ]


async def test_nothing_there() -> None:
    """Missing programs are no error."""
    found = await detect(FakeRunner(missing={"docker", "k3d", "podman", "k3s"}))

    assert found.programs == tuple(Program(name) for name in ("docker", "k3d", "podman", "k3s"))


async def test_there_but_of_no_use() -> None:
    """A program that fails is told with its last word; a client without a daemon is one of these."""
    runner = FakeRunner(missing={"k3d"})
    runner.script("docker", code=1, stderr="Client: 27.3.1\nCannot connect to the Docker daemon\n")
    runner.script("podman", code=125)

    found = await detect(runner)

    docker, _k3d, podman, _k3s = found.programs
    assert docker == Program("docker", trouble="Cannot connect to the Docker daemon")
    assert "failed with 125" in podman.trouble


class Hanging(FakeRunner):
    """A runner whose programs do not end."""

    def _unscripted(self, argv: tuple[str, ...], stdin: str) -> Completed:
        raise ObolError(f"`{argv[0]}` did not end within {self.ran[-1].timeout:g} seconds")


async def test_hanging() -> None:
    """A program that does not answer in time is there, and of no use."""
    found = await detect(Hanging())

    assert found.programs[0] == Program("docker", trouble="`docker` did not end within 5 seconds")
    assert not found.answers(["podman"])
