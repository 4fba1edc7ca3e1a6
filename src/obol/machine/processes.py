"""Processes of this machine: which run, since when, and of what they are part; and how to start one that outlives us.

A process is told apart from one that got its number later by the moment at which it was started: proc_pid_stat(5).
Programs that are run to their end are in `commands`, which loads an event loop: commands of ours that only ask one of
these processes start faster without it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.machine.commands import User

_GONE = frozenset({"Z", "X"})
"""States of a process that has ended, and of which only the number is left."""
_detached: list[subprocess.Popen[bytes]] = []
"""Kept, because a forgotten Popen warns that its process still runs, which is the purpose here."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process."""

    pid: int
    parent: int
    started: str
    """Ticks since the machine came up."""
    command: str
    """Its words, joined by blanks; a process may have written something else there."""


class Processes:
    """What runs on this machine."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self.proc = proc

    def look(self, pid: int) -> Process | None:
        """Look at one; None where it does not run."""
        directory = self.proc / str(pid)
        try:
            # The name in parentheses may have blanks and parentheses in it.
            fields = (directory / "stat").read_text(errors="replace").rpartition(") ")[2].split()
            command = (directory / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
        except OSError:
            return None
        if len(fields) < 20 or fields[0] in _GONE:
            return None
        return Process(pid, int(fields[1]), fields[19], command)

    def all(self) -> tuple[Process, ...]:
        """Look at all of them."""
        pids = sorted(int(entry.name) for entry in self.proc.iterdir() if entry.name.isdecimal())
        return tuple(found for pid in pids if (found := self.look(pid)) is not None)


def with_descendants(roots: Iterable[int], processes: Iterable[Process]) -> tuple[int, ...]:
    """The numbers of some processes and of all that they have started, and these in turn."""
    children: dict[int, list[int]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process.pid)
    found: dict[int, None] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop(0)
        if pid not in found:
            found[pid] = None
            waiting += children.get(pid, [])
    return tuple(found)


def detach(
    argv: Sequence[str], *, env: Mapping[str, str], output: int, account: User | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that outlives us and our terminal; what it prints goes to the file descriptor `output`.

    As `account` where one is given, which only root can do. Raises OSError where it cannot be run.
    """
    child = subprocess.Popen(  # noqa: S603 - running programs is what this is for; argv never goes through a shell
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=env,
        cwd="/",  # or it would keep the directory we happen to be in from being unmounted
        umask=0o077,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=() if account else None,
    )
    _detached.append(child)
    return child
