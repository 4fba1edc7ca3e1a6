from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from obol.registry.engine.storehealth import DiskSpace, StoreHealth, disk_space
from obol.registry.store.ports import StoreError

if TYPE_CHECKING:
    from pathlib import Path

FULL = StoreError("write a download: No space left on device", full=True)
BROKEN = StoreError("write a download: Input/output error")


def over_quota() -> StoreError:
    """What a store raises when the user may not write more, however much the disk has."""
    problem = StoreError("write a download: Disk quota exceeded", full=True)
    problem.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    return problem


def test_a_store_that_keeps_everything_is_well() -> None:
    """Nothing is wrong at first, nor where the disk cannot be asked."""
    assert StoreHealth().state(DiskSpace(0)) == ("ok", "")
    assert StoreHealth().state(None) == ("ok", "")


def test_a_full_store_is_full_for_as_long_as_it_holds() -> None:
    """What the failed transfer gave back makes no room for it; only room for all of it does."""
    health = StoreHealth()
    health.failed(FULL, 100)

    assert health.state(DiskSpace(99)) == ("full", str(FULL))
    health.kept(40)
    assert health.state(DiskSpace(50)) == ("full", str(FULL))
    assert health.state(None)[0] == "full"
    assert health.state(DiskSpace(100)) == ("ok", "")
    assert health.state(DiskSpace(0)) == ("ok", "")


def test_what_is_kept_proves_room() -> None:
    """Content as large as what did not fit was kept, so the store is not full any more."""
    health = StoreHealth()
    health.failed(FULL, 100)
    health.kept(100)

    assert health.state(DiskSpace(0)) == ("ok", "")


def test_content_of_unknown_size() -> None:
    """It needs something."""
    health = StoreHealth()
    health.failed(FULL, None)

    assert health.state(DiskSpace(0))[0] == "full"


def test_a_quota_is_not_the_disks_to_tell() -> None:
    """The disk has room, and the user may not use it: only content that is kept proves otherwise."""
    health = StoreHealth()
    health.failed(over_quota(), 100)

    assert health.state(DiskSpace(1 << 40))[0] == "full"
    health.kept(1)
    assert health.state(DiskSpace(1 << 40)) == ("ok", "")


def test_a_failing_disk() -> None:
    """It fails until it keeps something."""
    health = StoreHealth()
    health.failed(BROKEN, 100)
    assert health.state(DiskSpace(1 << 40)) == ("failing", str(BROKEN))

    health.kept(1)
    assert health.state(DiskSpace(1 << 40)) == ("ok", "")


def test_a_read_only_disk() -> None:
    """It is told before anything has failed."""
    assert StoreHealth().state(DiskSpace(5, read_only=True))[0] == "read-only"


def test_the_disk_is_asked(tmp_path: Path) -> None:
    """What it says is what the system says; a store that is gone says nothing."""
    found = disk_space(tmp_path)

    assert found is not None
    assert found.free <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert not found.read_only
    assert disk_space(tmp_path / "gone") is None
