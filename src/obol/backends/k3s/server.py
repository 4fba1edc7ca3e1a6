"""The k3s server of a stack as a process of this machine: started so that it outlives us, told apart, and stopped.

A file has its number, the moment at which it was started, and a digest of its configuration. The server itself writes
it, before it becomes k3s: a command that is interrupted leaves no server behind that is not known. The number alone is
never trusted: it may be another process's by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.commands import last_line
from obol.machine.polling import Polling
from obol.machine.processes import with_descendants
from obol.machine.regular import read_text

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.machine.privileges import AsRoot
    from obol.machine.processes import Process, Processes

PID, LOG = ".k3s.pid", "k3s.log"
"""Files in the directory of the stack; the log is that of the last start."""

BORN_WITHIN = 5.0
STOP_WITHIN = 30.0
KILL_WITHIN = 5.0
PODS_WITHIN = 2.0
PAUSE = 0.25
"""Seconds: for a server to be known; from asking it to end to ending it, and to giving up; for its pods to end;
between two looks."""

LAST_LINES = 10

# Field 22 of the line is when the process was started; `sh` has no blank in its name. The file is there whole or not.
_START = (
    "set -e; umask 022;"
    ' printf "%s %s %s\\n" "$$" "$(cut -d" " -f22 "/proc/$$/stat")" "$3" >"$1.new"; mv "$1.new" "$1";'
    ' umask 077; log=$2; shift 3; exec "$@" >>"$log" 2>&1 </dev/null'
)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that runs."""

    pid: int
    told: str
    """A digest of what it was told when it started."""


class K3sServer:
    """The server of one stack; `config` is the directory of the stack."""

    def __init__(self, root: AsRoot, config: Path, processes: Processes, clock: Clock) -> None:
        self._root = root
        self._pid = config / PID
        self._log = config / LOG
        self._processes = processes
        self._clock = clock

    def serving(self) -> RunningServer | None:
        """The server, if it runs: a process of another moment, or that is no k3s, is not ours."""
        try:
            number, started, told = read_text(self._pid).split()
            pid = int(number)
        except (OSError, ValueError):
            return None
        if pid <= 0 or not (found := self._processes.look(pid)):
            return None
        # While a process becomes another program, there are no words of it for a moment.
        is_k3s = not found.command or "k3s" in found.command
        return RunningServer(pid, told) if found.started == started and is_k3s else None

    async def start(self, argv: Sequence[str], told: str, environ: Mapping[str, str]) -> None:
        """Start a server, which runs on by itself. Raises ObolError.

        Variables that would tell k3s something else than its configuration are kept from it.
        """
        self._pid.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        self._log.touch(mode=0o600)  # by us, so that we may read it
        env = {name: value for name, value in environ.items() if not name.startswith(("K3S_", "CONTAINERD_"))}
        words = ("setsid", "--fork", "sh", "-c", _START, "sh", str(self._pid), str(self._log), told, *argv)
        done = await self._root.run(words, env=env)
        if done.code:
            why = last_line(done.stderr, f"`setsid` ended with {done.code}")
            raise ObolError("k3s cannot be started", why=why)
        await self._until(lambda: self.known, BORN_WITHIN)

    async def stop(self) -> None:
        """End the server and nothing else: pods run on. None there is fine. Raises ObolError where it does not end."""
        for signal, patience in (("TERM", STOP_WITHIN), ("KILL", KILL_WITHIN)):
            if (serving := self.serving()) is None:
                break
            await self._root.run(["kill", f"-{signal}", str(serving.pid)])
            await self._until(lambda: self.serving() is None, patience)
        if (serving := self.serving()) is not None:
            raise ObolError(f"k3s (process {serving.pid}) does not end", hint=f"see {self._log}, and end it by hand")

    async def end_pods(self, data: str) -> None:
        """End what the server of this data directory has started, which does not end with it.

        What keeps a container running goes last: without it, it would not be known whose the container is.
        """
        processes = self._processes.all()
        shims = _shims(processes, data)
        pods = with_descendants(shims, processes)
        for signal, pids in (("TERM", set(pods) - set(shims)), ("KILL", set(pods))):
            found = [one for one in processes if one.pid in pids and self._runs(one)]
            if found:
                ordered = sorted(found, key=lambda one: (one.pid in shims, one.pid))
                await self._root.run(["kill", f"-{signal}", *(str(one.pid) for one in ordered)])
                await self._until(partial(self._have_ended, found), PODS_WITHIN)

    def forget(self) -> None:
        """Forget a server that has ended."""
        self._pid.unlink(missing_ok=True)

    @property
    def known(self) -> bool:
        """Whether one was started and has not been forgotten, whether or not it runs."""
        return self._pid.exists()

    def last_words(self) -> str:
        """The end of its log, on one line."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "; ".join(lines[-LAST_LINES:])

    def _have_ended(self, processes: Iterable[Process]) -> bool:
        return not any(map(self._runs, processes))

    def _runs(self, process: Process) -> bool:
        now = self._processes.look(process.pid)
        return now is not None and now.started == process.started

    async def _until(self, done: Callable[[], bool], patience: float) -> None:
        async for _ in Polling(self._clock, every=PAUSE, within=patience):
            if done():
                return


def _shims(processes: Iterable[Process], data: str) -> list[int]:
    """What keeps containers running is started from the data directory, which tells whose it is."""
    ours = f"{data}/data/"
    return [one.pid for one in processes if one.command.startswith(ours) and "/bin/containerd-shim" in one.command]
