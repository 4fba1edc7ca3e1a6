import asyncio
import contextlib
import os
import signal
import stat
from pathlib import Path

import pytest

from obol.backends.k3s.server import K3sServer, RunningServer
from obol.errors import ObolError
from obol.machine.clock import SystemClock
from obol.machine.commands import SystemRunner
from obol.machine.privileges import AsRoot
from obol.machine.processes import Process, Processes
from tests.fakes.clock import FakeClock
from tests.fakes.k3s import FakeHost
from tests.fakes.runner import FakeRunner

K3S = Process(70, 1, "99", "k3s server")


def server(host: FakeHost, config: Path, clock: FakeClock | None = None) -> K3sServer:
    """The server of a stack whose directory this is."""
    return K3sServer(AsRoot(host, 0), config, host, clock or FakeClock())


@pytest.mark.parametrize(
    ("text", "running", "seen"),
    [
        ("70 99 abc\n", K3S, RunningServer(70, "abc")),
        ("70 99 abc\n", Process(70, 1, "99", ""), RunningServer(70, "abc")),
        ("70 98 abc\n", K3S, None),
        ("70 99 abc\n", Process(70, 1, "99", "firefox"), None),
        ("71 99 abc\n", K3S, None),
        ("70\n", K3S, None),
        ("seventy 99 abc\n", K3S, None),
        ("-1 99 abc\n", Process(-1, 1, "99", "k3s"), None),
        ("0 99 abc\n", Process(0, 1, "99", "k3s"), None),
        ("", K3S, None),
    ],
)
async def test_serving(tmp_path: Path, text: str, running: Process, seen: RunningServer | None) -> None:
    """A server was started at that moment and is a k3s, or becomes one; a number of another is never signalled."""
    host = FakeHost(running={running.pid: running})
    (tmp_path / ".k3s.pid").write_text(text)

    assert server(host, tmp_path).serving() == seen
    await server(host, tmp_path).stop()
    assert any(line.startswith("kill") for line in host.lines) == (seen is not None)


async def test_start(tmp_path: Path) -> None:
    """It is started detached, with what it was told beside its number, and without variables that tell it otherwise."""
    host = FakeRunner()
    environ = {"PATH": "/bin", "K3S_URL": "https://elsewhere", "CONTAINERD_LOG": "x", "HTTPS_PROXY": "http://proxy"}
    (tmp_path / "k3s.log").write_text("of before\n")

    await K3sServer(AsRoot(host, 0), tmp_path, FakeHost(), FakeClock()).start(("/opt/k3s", "server"), "abc", environ)

    (ran,) = host.ran
    assert ran.argv[:4] == ("setsid", "--fork", "sh", "-c")
    assert ran.argv[5:] == ("sh", f"{tmp_path}/.k3s.pid", f"{tmp_path}/k3s.log", "abc", "/opt/k3s", "server")
    assert ran.env == {"PATH": "/bin", "HTTPS_PROXY": "http://proxy"}
    assert (tmp_path / "k3s.log").read_text() == ""
    assert stat.S_IMODE((tmp_path / "k3s.log").stat().st_mode) == 0o600


@pytest.mark.parametrize(("stderr", "why"), [("setsid: no\n", "setsid: no"), ("", "`setsid` ended with 1")])
async def test_start_fails(tmp_path: Path, stderr: str, why: str) -> None:
    """A start that fails is told at once."""
    runner = FakeRunner()
    runner.script("setsid", code=1, stderr=stderr)

    with pytest.raises(ObolError, match=f"k3s cannot be started: {why}"):
        await K3sServer(AsRoot(runner, 0), tmp_path, FakeHost(), FakeClock()).start(("k3s",), "abc", {})


async def test_stop_by_force(tmp_path: Path) -> None:
    """A server that does not end when it is asked to is ended after 30 seconds, by its number; or that is an error."""
    host, clock = FakeHost(running={70: K3S}, stubborn={"-TERM"}), FakeClock()
    (tmp_path / ".k3s.pid").write_text("70 99 abc\n")

    await server(host, tmp_path, clock).stop()

    assert host.lines == ["kill -TERM 70", "kill -KILL 70"]
    assert sum(clock.sleeps) == 30
    host.running, host.stubborn = {70: K3S}, {"-TERM", "-KILL"}
    with pytest.raises(ObolError, match=r"k3s \(process 70\) does not end"):
        await server(host, tmp_path).stop()


async def test_the_number_is_given_again_meanwhile(tmp_path: Path) -> None:
    """A process that gets the number between two signals is left alone."""
    host = FakeHost(running={70: K3S}, bystander="k3s server")
    (tmp_path / ".k3s.pid").write_text("70 99 abc\n")

    await server(host, tmp_path).stop()

    assert host.lines == ["kill -TERM 70"]
    assert 70 in host.running


def shims(data: str) -> dict[int, Process]:
    """Two pods of ours with their shims, one of another k3s, and one of Docker's."""
    ours = f"{data}/data/abc/bin/containerd-shim-runc-v2 -namespace k8s.io -address /run/k3s/containerd"
    commands = {
        80: (1, ours),
        81: (80, "pause"),
        82: (80, "litellm"),
        90: (1, "/var/lib/rancher/k3s/data/abc/bin/containerd-shim-runc-v2 -namespace k8s.io"),
        91: (90, "theirs"),
        95: (1, "/usr/bin/containerd-shim-runc-v2 -namespace moby"),
        97: (1, f"vi {data}/data/x/bin/containerd-shim"),
    }
    return {pid: Process(pid, parent, "1", command) for pid, (parent, command) in commands.items()}


async def test_end_pods(tmp_path: Path) -> None:
    """Pods of this data directory end, and then what keeps them running; nobody else's do."""
    host = FakeHost(running=shims("/d/k3s"))

    await server(host, tmp_path).end_pods("/d/k3s")
    await server(host, tmp_path).end_pods("/d/k3s")

    assert host.lines == ["kill -TERM 81 82", "kill -KILL 80"]
    assert set(host.running) == {90, 91, 95, 97}


async def test_end_pods_by_force(tmp_path: Path) -> None:
    """Those that do not end get two seconds."""
    host, clock = FakeHost(running=shims("/d/k3s"), stubborn={"-TERM"}), FakeClock()

    await server(host, tmp_path, clock).end_pods("/d/k3s")

    assert host.lines == ["kill -TERM 81 82", "kill -KILL 81 82 80"]
    assert sum(clock.sleeps) == 2


def test_last_words(tmp_path: Path) -> None:
    """The last lines of the log are at hand, if there is one."""
    one = server(FakeHost(), tmp_path)
    assert one.last_words() == ""

    (tmp_path / "k3s.log").write_text("".join(f"line {number}\n" for number in range(30)))

    assert one.last_words() == "; ".join(f"line {number}" for number in range(20, 30))


async def test_a_real_process(tmp_path: Path) -> None:
    """A process of this machine is known by its file as soon as it is started, with a session and a log."""
    program, fifo = tmp_path / "k3s", tmp_path / "fifo"
    os.mkfifo(fifo)
    program.write_text(f"#!/bin/sh\necho started with $1\nread -r line <{fifo}\n")
    program.chmod(0o755)
    one = K3sServer(AsRoot(SystemRunner(), 0), tmp_path, Processes(), SystemClock())

    await one.start((str(program), "server"), "abc", os.environ)

    serving = one.serving()
    assert serving is not None
    try:
        with await asyncio.to_thread(fifo.open, "wb"):  # it has got as far as that
            assert serving.told == "abc"
            assert os.getsid(serving.pid) == serving.pid
            assert (tmp_path / "k3s.log").read_text() == "started with server\n"
        assert stat.S_IMODE((tmp_path / ".k3s.pid").stat().st_mode) == 0o644
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(serving.pid, signal.SIGKILL)
