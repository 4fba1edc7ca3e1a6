"""Whether the store can keep what comes. A cache serves on when it cannot, and its status says so."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.registry.control.api import StoreState
    from obol.registry.store.ports import StoreError


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """What the file system of a store says of itself."""

    free: int
    """Bytes that we may still write."""
    read_only: bool = False


class StoreHealth:
    """What went wrong with the store last, for as long as it holds."""

    def __init__(self) -> None:
        self._needed = 0.0
        """Bytes for which there was no room; infinite where it is not the file system that says how much there is."""
        self._why = ""

    def failed(self, problem: StoreError, size: int | None) -> None:
        """Content of this size could not be kept."""
        self._why = str(problem)
        self._needed = 0.0
        if problem.full:
            quota = isinstance(problem.__cause__, OSError) and problem.__cause__.errno == errno.EDQUOT
            self._needed = math.inf if quota else max(size or 0, 1)

    def kept(self, size: int) -> None:
        """Content of this size was kept, which shows that there is room for so much, and that the disk works."""
        if size >= self._needed or math.isinf(self._needed):
            self._needed, self._why = 0.0, ""

    def state(self, disk: DiskSpace | None) -> tuple[StoreState, str]:
        """How the store is, and why. Room that was made meanwhile counts, as far as the disk can be asked."""
        if disk is not None and disk.read_only:
            return "read-only", "its file system is read-only"
        if disk is not None and 0 < self._needed <= disk.free:
            self._needed, self._why = 0.0, ""
        if self._needed:
            return "full", self._why
        return ("failing", self._why) if self._why else ("ok", "")


def disk_space(store: Path) -> DiskSpace | None:
    """Ask the file system of a store; None where it does not say."""
    try:
        found = os.statvfs(store)
    except OSError:
        return None
    return DiskSpace(found.f_bavail * found.f_frsize, bool(found.f_flag & os.ST_RDONLY))
