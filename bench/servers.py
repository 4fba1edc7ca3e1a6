"""A peer's process: started, asked until it answers, read in /proc, ended by its id."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.clients import HOST, Failed

STARTS_WITHIN = 30.0
_ENDS_WITHIN = 3.0
_POLL = 0.002
_PORTS = range(20_000, 32_000)
"""Linux hands these out to nobody by itself: peers take no descriptor, and another process could be quicker."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def free_port() -> int:
    """A port that nobody has now. Raises Failed."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise Failed("no port is free")


class Server:
    """A process, with those that it starts."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.started_in = 0.0
        """Seconds from its start to its first answer."""
        self._process = process
        self._log = log
        self._since = time.perf_counter()

    def await_answer(self, port: int) -> None:
        """Return when it answers a request, whatever it says. Raises Failed."""
        while not _answers(port):
            if self._process.poll() is not None or time.perf_counter() - self._since > STARTS_WITHIN:
                said = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise Failed(f"{self._process.args!r} does not answer:\n{said}")
            time.sleep(_POLL)
        self.started_in = time.perf_counter() - self._since

    def cpu(self) -> float:
        """Seconds of processor time that it has used so far."""
        return sum(_cpu(pid) for pid in self._pids())

    def peak_memory(self) -> int:
        """Bytes: the most that was resident, the sum of its processes."""
        return sum(_peak(pid) for pid in self._pids())

    def _pids(self) -> list[int]:
        parents = _parents()
        found = [self._process.pid]
        for pid in found:  # grows while it is walked, by the children of what was found
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def end(self) -> None:
        """Let it end by itself for a moment, as nginx must to end its workers; then kill its session."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDS_WITHIN)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def running(
    argv: Sequence[str],
    log: Path,
    port: int,
    environ: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[Server]:
    """Start a server and wait until it answers on `port`; it is gone at the end of the block. Raises Failed.

    It is handed open `descriptors`, under their numbers.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environ,
            pass_fds=descriptors,
            start_new_session=True,
        )
    server = Server(process, log)
    try:
        server.await_answer(port)
        yield server
    finally:
        server.end()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), 5.0) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.recv(16).startswith(b"HTTP/1.1 ")
    return False


def _parents() -> dict[int, int]:
    """Who started whom, of all processes."""
    found = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                found[int(folder.name)] = int(_stat(int(folder.name))[1])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of proc(5) /proc/PID/stat from the third on: the second is a name that may have blanks in it."""
    return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    with suppress(OSError):
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def _peak(pid: int) -> int:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
