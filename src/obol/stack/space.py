"""How much room the caches take on disk, and how much is left."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.caches.warming import Holding
    from obol.registry.control.api import EngineStatus

FILES = 50_000
"""So many are counted; who has more waits no longer for a number."""


@dataclass(frozen=True, slots=True)
class SpaceOnDisk:
    """Sizes are in bytes."""

    caches: str
    """The directory that has them."""
    held: int | None
    """What they take; None where it is not known: too many files, or not ours to read."""
    free: int | None
    """What the file system has left for this user; None where it cannot be asked."""
    data: str
    """The directory of the stack's own data."""
    data_there: bool


def space(caches: Path, data: Path) -> SpaceOnDisk:
    """Measure. Takes as long as it takes to look at FILES files."""
    return SpaceOnDisk(str(caches), _size(caches), _free(caches), str(data), data.is_dir())


def too_little_room(holding: Holding, engine: EngineStatus) -> str:
    """A sentence where the caches' disk has no room for what is missing of some images; "" where it has."""
    needed = holding.missing
    if not needed:
        return ""
    free = _free(Path(engine.store))
    if free is None or needed <= free:
        return ""
    return (
        f"The registry caches need {_mib(needed)} more for the images, and {engine.store} has {_mib(free)} free: "
        "what does not fit is passed on and not kept. Free some space there, or choose another disk with "
        "OBOL_REGISTRY_CACHE_DIR."
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _size(directory: Path) -> int | None:
    total = count = 0
    for where, _directories, names in os.walk(directory):
        for name in names:
            count += 1
            if count > FILES:
                return None
            try:
                total += os.lstat(f"{where}/{name}").st_blocks * 512
            except OSError:  # it has gone
                continue
    return total


def _free(directory: Path) -> int | None:
    """Ask for the directory, or for where it would be."""
    for path in (directory, *directory.parents):
        try:
            return shutil.disk_usage(path).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
