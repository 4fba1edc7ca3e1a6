import os
import sys
from pathlib import Path

import pytest

from obol.machine.commands import User
from obol.machine.processes import Process, Processes, detach, with_descendants


def entry(proc: Path, pid: int, *, name: str = "sh", state: str = "S", command: bytes = b"sh\0-c\0true\0") -> None:
    """A process in a /proc of our own."""
    directory = proc / str(pid)
    directory.mkdir()
    rest = " ".join(str(number) for number in range(5, 30))
    (directory / "stat").write_text(f"{pid} ({name}) {state} 1 {rest}\n")
    (directory / "cmdline").write_bytes(command)


def test_this_process() -> None:
    """A process that runs is seen, with its parent and the moment at which it was started."""
    seen = Processes().look(os.getpid())

    assert seen is not None
    assert seen.parent == os.getppid()
    assert int(seen.started) > 0
    assert "python" in seen.command
    assert seen in Processes().all()


def test_names_with_parentheses(tmp_path: Path) -> None:
    """A name with blanks and parentheses moves no field."""
    entry(tmp_path, 7, name="a) R 9 (b", command=b"k3s server\0\0\0")

    assert Processes(tmp_path).look(7) == Process(7, 1, "22", "k3s server")


@pytest.mark.parametrize("state", ["Z", "X"])
def test_ended(tmp_path: Path, state: str) -> None:
    """A process that has ended does not run, although nobody has noticed yet; nor does one that is not there."""
    entry(tmp_path, 7, state=state)
    (tmp_path / "8").mkdir()
    (tmp_path / "self").mkdir()

    assert Processes(tmp_path).look(7) is None
    assert Processes(tmp_path).look(8) is None
    assert Processes(tmp_path).all() == ()


def test_nonsense(tmp_path: Path) -> None:
    """A line that is too short is no process."""
    entry(tmp_path, 7)
    (tmp_path / "7" / "stat").write_text("7 (sh) S 1")

    assert Processes(tmp_path).look(7) is None


def test_descendants() -> None:
    """Children and their children belong to a process, each once; others do not."""
    parents = {2: 1, 3: 2, 4: 3, 5: 2, 6: 1, 7: 7}
    processes = [Process(pid, parent, "1", "x") for pid, parent in parents.items()]

    assert with_descendants((2, 3), processes) == (2, 3, 5, 4)
    assert with_descendants((7,), processes) == (7,)
    assert with_descendants((), processes) == ()


def test_detach(tmp_path: Path) -> None:
    """A detached program has a session of its own, no input, and prints to our file."""
    log = tmp_path / "log"
    code = "import os, sys; print(os.getsid(0) == os.getpid(), os.getcwd(), sys.stdin.read() == '', os.environ['A'])"
    with log.open("wb") as output:
        child = detach([sys.executable, "-c", code], env={"A": "b"}, output=output.fileno())

        assert child.wait() == 0
    assert log.read_text() == "True / True b\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_detach_as_somebody_else(tmp_path: Path) -> None:
    """Root can start a program for another user, without root's groups."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = detach(
            ["/bin/sh", "-c", "id -u; id -G"],
            env={"PATH": "/bin:/usr/bin"},
            output=output.fileno(),
            account=User(65534, 65533),
        )

        assert child.wait() == 0
    assert log.read_text() == "65534\n65533\n"
