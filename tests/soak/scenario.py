"""What a scenario is, and whether this machine can run it.

A scenario that cannot run is refused with the reason, and what it would have shown is then not claimed.
"""

import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import find_tool
from tests.soak.figures import Figure, size

Run = Callable[[Path], Awaitable[Sequence[Figure]]]
"""Given an empty directory, which is removed afterwards."""

SPARE = 1 << 30
"""Bytes of disk that are left to everybody else."""

MOUNT_TOOLS = ("mkfs.ext4", "mount", "umount")


class Refused(Exception):
    """The machine turned out to lack something in the middle of a scenario."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes of free disk and of available memory, and whether a file system has to be mounted."""

    disk: int = 0
    memory: int = 0
    loop_mount: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to try the engine hard.

    `method`: what is done, for the page; `guarantees`: what may be claimed when every bound holds; `limits`: what this
    does not show, or what is known not to hold.
    """

    name: str
    title: str
    method: str
    run: Run
    needs: Needs = field(default_factory=Needs)
    guarantees: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario: figures, or why there are none. `broke` tells a crash from a refusal."""

    scenario: Scenario
    seconds: float
    figures: tuple[Figure, ...] = ()
    refusal: str = ""
    broke: bool = False

    @property
    def held(self) -> bool:
        """It ran, and every bound holds."""
        return bool(self.figures) and not self.broke and all(figure.holds for figure in self.figures)

    @property
    def failed(self) -> bool:
        """It ran, and not every bound holds."""
        return self.broke or not all(figure.holds for figure in self.figures)


def lacking(needs: Needs, scratch: Path) -> str:
    """Why a scenario cannot run over the directory `scratch`; empty if it can."""
    free = shutil.disk_usage(scratch).free
    if free < needs.disk + SPARE:
        return f"needs {size(needs.disk + SPARE)} of free disk, and there are {size(free)}"
    available = available_memory()
    if available < needs.memory:
        return f"needs {size(needs.memory)} of available memory, and there are {size(available)}"
    if needs.loop_mount:
        return _mounting()
    return ""


def _mounting() -> str:
    if os.geteuid() != 0:
        return "has to mount a file system, which takes root"
    missing = [name for name in MOUNT_TOOLS if find_tool(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    return "" if Path("/dev/loop-control").exists() else "needs loop devices"


def available_memory() -> int:
    """Bytes that the system could give to programs."""
    return _memory("MemAvailable")


def total_memory() -> int:
    """Bytes of the machine."""
    return _memory("MemTotal")


def _memory(name: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
