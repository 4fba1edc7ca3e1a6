import errno
import os
from pathlib import Path

import pytest

from obol.registry.engine.storehealth import DiskSpace, StoreHealth, disk_space
from obol.registry.store.ports import StoreError

FULL = StoreError("write a download: No space left on device", full=True)
BROKEN = StoreError("write a download: Input/output error")
OVER_QUOTA = StoreError("write a download: Disk quota exceeded", full=True)
OVER_QUOTA.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
ROOMY, FULL_DISK = DiskSpace(1 << 40), DiskSpace(0)


@pytest.mark.parametrize(
    ("problem", "size", "kept", "disk", "state"),
    [
        pytest.param(None, None, None, FULL_DISK, "ok", id="nothing went wrong yet"),
        pytest.param(None, None, None, None, "ok", id="the disk cannot be asked"),
        pytest.param(None, None, None, DiskSpace(5, read_only=True), "read-only", id="read-only before anything fails"),
        pytest.param(FULL, 100, None, DiskSpace(99), "full", id="too little room"),
        pytest.param(FULL, 100, 40, DiskSpace(50), "full", id="what the failed transfer gave back is too little"),
        pytest.param(FULL, 100, None, None, "full", id="full, and the disk cannot be asked"),
        pytest.param(FULL, 100, None, DiskSpace(100), "ok", id="there is room again"),
        pytest.param(FULL, 100, 100, FULL_DISK, "ok", id="as much was kept"),
        pytest.param(FULL, None, None, FULL_DISK, "full", id="what did not fit has no size"),
        pytest.param(OVER_QUOTA, 100, None, ROOMY, "full", id="a quota is not the disk's to tell"),
        pytest.param(OVER_QUOTA, 100, 1, ROOMY, "ok", id="a quota that something fitted into"),
        pytest.param(BROKEN, 100, None, ROOMY, "failing", id="the disk fails"),
        pytest.param(BROKEN, 100, 1, ROOMY, "ok", id="the disk kept something again"),
    ],
)
def test_state(
    problem: StoreError | None, size: int | None, kept: int | None, disk: DiskSpace | None, state: str
) -> None:
    """A store is full, read-only or failing for as long as it holds, and says why."""
    health = StoreHealth()
    if problem is not None:
        health.failed(problem, size)
    if kept is not None:
        health.kept(kept)

    found, why = health.state(disk)

    assert found == state
    assert why == {"ok": "", "read-only": "its file system is read-only"}.get(state, str(problem))
    if state == "ok":
        assert health.state(FULL_DISK) == ("ok", "")


def test_the_disk_is_asked(tmp_path: Path) -> None:
    """What it says is what the system says; a store that is gone says nothing."""
    found = disk_space(tmp_path)

    assert found is not None
    assert found.free <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert not found.read_only
    assert disk_space(tmp_path / "gone") is None
