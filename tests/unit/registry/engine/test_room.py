from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from obol.registry.engine.room import Disk, Room, disk_of
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
    assert Room().state(Disk(0)) == ("ok", "")
    assert Room().state(None) == ("ok", "")


def test_a_full_store_is_full_for_as_long_as_it_holds() -> None:
    """What the failed transfer gave back makes no room for it; only room for all of it does."""
    room = Room()
    room.failed(FULL, 100)

    assert room.state(Disk(99)) == ("full", str(FULL))
    room.kept(40)
    assert room.state(Disk(50)) == ("full", str(FULL))
    assert room.state(None)[0] == "full"
    assert room.state(Disk(100)) == ("ok", "")
    assert room.state(Disk(0)) == ("ok", "")


def test_what_is_kept_proves_room() -> None:
    """Content as large as what did not fit was kept, so the store is not full any more."""
    room = Room()
    room.failed(FULL, 100)
    room.kept(100)

    assert room.state(Disk(0)) == ("ok", "")


def test_content_of_unknown_size() -> None:
    """It needs something."""
    room = Room()
    room.failed(FULL, None)

    assert room.state(Disk(0))[0] == "full"


def test_a_quota_is_not_the_disks_to_tell() -> None:
    """The disk has room, and the user may not use it: only content that is kept proves otherwise."""
    room = Room()
    room.failed(over_quota(), 100)

    assert room.state(Disk(1 << 40))[0] == "full"
    room.kept(1)
    assert room.state(Disk(1 << 40)) == ("ok", "")


def test_a_failing_disk() -> None:
    """It fails until it keeps something."""
    room = Room()
    room.failed(BROKEN, 100)
    assert room.state(Disk(1 << 40)) == ("failing", str(BROKEN))

    room.kept(1)
    assert room.state(Disk(1 << 40)) == ("ok", "")


def test_a_read_only_disk() -> None:
    """It is told before anything has failed."""
    assert Room().state(Disk(5, read_only=True))[0] == "read-only"


def test_the_disk_is_asked(tmp_path: Path) -> None:
    """What it says is what the system says; a store that is gone says nothing."""
    found = disk_of(tmp_path)

    assert found is not None
    assert found.free <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert not found.read_only
    assert disk_of(tmp_path / "gone") is None
