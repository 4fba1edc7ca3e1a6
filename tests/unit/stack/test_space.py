import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from obol.caches.warming import Holding
from obol.stack import space as room
from obol.stack.space import space, too_little_room
from tests.unit.stack.world import engine_status


def test_space(tmp_path: Path) -> None:
    """What the caches take is what their files take on disk, wherever below; what is free is the file system's."""
    (tmp_path / "caches/builtin").mkdir(parents=True)
    (tmp_path / "caches/builtin/blob").write_bytes(b"x" * 100_000)
    (tmp_path / "caches/gone").symlink_to(tmp_path / "nowhere")

    found = space(tmp_path / "caches", tmp_path / "data")

    assert found.held is not None
    assert 100_000 <= found.held < 200_000
    assert found.free is not None
    assert found.free > 0
    assert (found.caches, found.data_there) == (str(tmp_path / "caches"), False)


def test_nothing_there_yet(tmp_path: Path) -> None:
    """Before there are caches, they take nothing, and what is free is told for where they will be."""
    found = space(tmp_path / "a/b/c", tmp_path)

    assert found.held == 0
    assert found.free is not None
    assert found.data_there


def test_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many files to count, or a file system that does not answer, are no number at all."""

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(room, "FILES", 1)
    monkeypatch.setattr(shutil, "disk_usage", refuse)
    for name in "ab":
        (tmp_path / name).write_text("")

    found = space(tmp_path, tmp_path)

    assert (found.held, found.free) == (None, None)


def test_a_file_that_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is removed while it is counted counts nothing."""
    monkeypatch.setattr("os.walk", lambda directory: [(str(directory), [], ["gone"])])

    assert space(tmp_path, tmp_path).held == 0


def test_too_little_room(tmp_path: Path) -> None:
    """What does not fit is said with both sizes and the way out; what fits, or is there, is no matter."""
    engine = replace(engine_status(), store=str(tmp_path / "not there yet"))

    told = too_little_room(Holding({}, 5 << 60), engine)

    assert f"need {5 << 40:,} MiB more" in told
    assert "OBOL_REGISTRY_CACHE_DIR" in told
    assert too_little_room(Holding({}, 1), engine) == ""
    assert too_little_room(Holding({"docker.io": 5 << 60}, 0), engine) == ""
