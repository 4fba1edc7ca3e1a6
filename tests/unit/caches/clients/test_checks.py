import asyncio
from pathlib import Path

import pytest

from obol.caches.clients.clients import ClientName, setup, write_checked
from obol.caches.clients.files import ConfigHome
from obol.errors import ObolError
from obol.machine.commands import Completed
from obol.machine.originals import Originals
from obol.rendering.registries import Mirror
from tests.fakes.runner import FakeRunner

MIRRORS = (Mirror("docker.io", "http://127.0.0.1:54100"),)


async def written(client: ClientName, tmp_path: Path, runner: FakeRunner, given: Path | None = None) -> list[str]:
    """What became of the files."""
    where = ConfigHome(tmp_path / "home", per_user=False, root=tmp_path, given=given)
    wanted = setup(client, MIRRORS, where)
    return [one.action for one in await write_checked(wanted, where, Originals(tmp_path / "state"), runner)]


async def test_dockerd_refuses(tmp_path: Path) -> None:
    """Where dockerd refuses its file, the file is as it was, and what dockerd said is told."""
    path = tmp_path / "etc/docker/daemon.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"nonsense": 1}')
    runner = FakeRunner()
    runner.script("dockerd", code=1, stderr="x\nunable to configure: nonsense\n")

    with pytest.raises(ObolError, match="docker refuses the new files") as caught:
        await written("docker", tmp_path, runner)

    assert caught.value.why == "unable to configure: nonsense"
    assert path.read_text() == '{"nonsense": 1}'
    assert runner.lines == [f"dockerd --validate --config-file={path}"]


@pytest.mark.parametrize("older", [False, True])
async def test_dockerd_without_a_check(older: bool, tmp_path: Path) -> None:
    """A dockerd that cannot check its file, or is not here, says nothing; what is there already is not checked."""
    runner = FakeRunner(missing=set() if older else {"dockerd"})
    runner.script("dockerd", code=125, stderr="unknown flag: --validate\nSee 'dockerd --help'.\n")

    assert await written("docker", tmp_path, runner) == ["written"]
    assert await written("docker", tmp_path, runner) == ["unchanged"]
    assert len(runner.ran) == older


@pytest.mark.parametrize("program", ["skopeo", "podman"])
async def test_podman_refuses(program: str, tmp_path: Path) -> None:
    """Files that podman or skopeo cannot load are taken back."""
    runner = FakeRunner(missing=set() if program == "skopeo" else {"skopeo"})
    runner.script(program, code=1, stderr="level=fatal msg=loading registries configuration: x\n")

    with pytest.raises(ObolError, match="podman refuses the new files") as caught:
        await written("podman", tmp_path, runner)

    assert "loading registries" in caught.value.why
    assert not (tmp_path / "etc").exists()


async def test_podman_has_other_trouble(tmp_path: Path) -> None:
    """An image that is not there, or no program at all, says nothing of the files; neither does another directory."""
    runner = FakeRunner()
    runner.script("skopeo", code=1, stderr="connection refused\n")

    assert await written("podman", tmp_path, runner) == ["written"]
    assert await written("skopeo", tmp_path, FakeRunner(missing={"skopeo", "podman"}), tmp_path / "x") == ["written"]
    assert await written("containerd", tmp_path, FakeRunner(missing={"skopeo", "podman"})) == ["written"]


async def test_interrupted_check(tmp_path: Path) -> None:
    """Where the check is interrupted, nobody knows what it would have said: nothing of ours stays."""

    class Interrupting(FakeRunner):
        async def run(self, *_: object, **__: object) -> Completed:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await written("docker", tmp_path, Interrupting())

    assert not (tmp_path / "etc").exists()
