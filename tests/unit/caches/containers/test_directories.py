import os
from pathlib import Path

import pytest

from obol.caches.containers.container import clear_directory, make_directory
from obol.errors import StoreUnusable
from obol.machine.commands import User
from obol.machine.docker.cli import Docker
from tests.fakes.runner import FakeRunner


def test_made(tmp_path: Path) -> None:
    """What is missing is made, for whom it is meant; again is no error."""
    account = User(os.getuid(), os.getgid())

    make_directory(tmp_path / "a" / "b", account)
    make_directory(tmp_path / "a" / "b", None)

    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_not_usable(tmp_path: Path) -> None:
    """A path that Docker would misread, and one through a file, are refused with what to do."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnusable, match="colon") as caught:
        make_directory(tmp_path / "a:b", None)
    assert "OBOL_REGISTRY_CACHE_DIR" in caught.value.hint
    with pytest.raises(StoreUnusable, match="cannot be used"):
        make_directory(tmp_path / "file" / "b", None)


async def test_cleared(tmp_path: Path) -> None:
    """What is ours is removed without Docker; what is not there, or leads elsewhere, is no error."""
    runner, content = FakeRunner(), tmp_path / "c"
    (content / "docker").mkdir(parents=True)
    (content / "docker" / "blob").touch()
    (tmp_path / "link").symlink_to(tmp_path)

    assert await clear_directory(Docker(runner), content, "registry:3") == ""
    assert await clear_directory(Docker(runner), content, "registry:3") == ""
    assert await clear_directory(Docker(runner), tmp_path / "link", "registry:3") == ""
    assert not content.exists()
    assert (tmp_path / "link").is_symlink()
    assert runner.lines == []


@pytest.mark.parametrize("works", [True, False])
async def test_files_of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    """What only root may remove is removed in a container; if that does not help, the person is told how."""
    runner, content = FakeRunner(), tmp_path / "c"
    content.mkdir()
    tries = [False, works]
    monkeypatch.setattr("obol.caches.containers.container._cleared", lambda _: tries.pop(0))

    left = await clear_directory(Docker(runner), content, "registry:3")

    assert runner.lines[1] == (
        f"docker run --rm --network none --volume {content}:/var/lib/registry:z --entrypoint find registry:3 "
        "/var/lib/registry -mindepth 1 -delete"
    )
    assert left == ("" if works else f"{content} cannot be removed by this user: sudo rm -r {content}")
