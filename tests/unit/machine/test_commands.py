import asyncio
import os
from pathlib import Path

import pytest

from obol.errors import DependencyMissing, ObolError
from obol.machine.commands import Completed, SystemRunner, last_line, masked, plain
from obol.machine.tasks import spawn
from tests.fakes.runner import FakeRunner, Ran
from tests.limits import scaled


async def test_run() -> None:
    """A program gets its input and environment, and its exit code and both outputs come back."""
    script = 'read line; echo "$line $WORD"; echo trouble >&2; exit 3'

    completed = await SystemRunner().run(["/bin/sh", "-c", script], stdin="hello\n", env={"WORD": "world"})

    assert completed == Completed(3, "hello world\n", "trouble\n")


async def test_killed_program() -> None:
    """A program that a signal ended has a negative code; bytes that are no text do no harm."""
    completed = await SystemRunner().run(["/bin/sh", "-c", "printf '\\377'; kill -9 $$"])

    assert completed == Completed(-9, "\ufffd", "")


async def test_missing_program() -> None:
    """A program that is not installed is a missing dependency, with its name."""
    with pytest.raises(DependencyMissing, match="`no-such-program` cannot be run"):
        await SystemRunner().run(["no-such-program", "--version"])


async def test_timeout_takes_the_children_too(tmp_path: Path) -> None:
    """A program that takes too long is ended with what it started."""
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ObolError, match="did not end within"):
            await SystemRunner().run(["/bin/sh", "-c", f"exec 9>{fifo}; sleep 60 & wait"], timeout=0.2)

        # The end of the file comes when the last process that held it open for writing is gone.
        os.set_blocking(reading, True)
        assert await asyncio.to_thread(os.read, reading, 1) == b""
    finally:
        os.close(reading)


async def test_stubborn_program_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that ignores the request to end is killed."""
    monkeypatch.setattr("obol.machine.commands._GRACE", 0.1)

    with pytest.raises(ObolError, match="did not end within"):
        await SystemRunner().run(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], timeout=0.2)


async def test_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that may have to ask stays in our session, and is ended without us."""
    monkeypatch.setattr("obol.machine.commands._GRACE", 0.1)
    runner = SystemRunner(on_terminal=True)

    done = await runner.run(["/bin/sh", "-c", "ps -o sid= -p $$"])
    with pytest.raises(ObolError, match="did not end within"):
        await runner.run(["/bin/sleep", "60"], timeout=0.2)

    assert int(done.stdout) == os.getsid(0)


async def test_cancelled(tmp_path: Path) -> None:
    """Who stops waiting leaves no process behind."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = spawn(SystemRunner().run(["/bin/sh", "-c", f"echo $$ > {fifo}; exec sleep 60"]), name="test")
    pid = int(await asyncio.to_thread(fifo.read_text))

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_fake_runner() -> None:
    """The fake answers by the longest script that fits, in turn, and remembers what it was asked."""
    runner = FakeRunner(missing={"k3d"})
    runner.script("docker", stdout="any")
    runner.script("docker", "ps", code=1)
    runner.script("docker", "ps", stdout="later")

    answers = [
        await runner.run(argv)
        for argv in (["docker", "info"], ["docker", "ps", "-a"], ["docker", "ps"], ["docker", "ps"], ["id"])
    ]

    assert [(answer.code, answer.stdout) for answer in answers] == [
        (0, "any"),
        (1, ""),
        (0, "later"),
        (0, "later"),
        (0, ""),
    ]
    assert runner.ran[0] == Ran(("docker", "info"), "", None, None)
    assert runner.lines[1] == "docker ps -a"
    with pytest.raises(DependencyMissing):
        await runner.run(["k3d"])


async def test_lines_while_it_runs() -> None:
    """Who wants to see the lines of both outputs gets them at once, without colours, and secrets cut out."""
    seen: list[str] = []
    reader, writer = os.pipe()

    def lines(line: str) -> None:
        seen.append(line)
        if line == "first":  # it is still running: it waits for what is written here
            os.write(writer, b"\n")

    script = (
        f"echo first; read x < /dev/fd/{reader}; printf '1 %%\\r2 %%\\r\\n' >&2; read y; echo \"$y\";"
        " printf '\\033[31mtoken: abc\\033[0m\\n\\n\\001end'; exit 4"
    )
    os.set_inheritable(reader, True)
    argv = ["/usr/bin/env", "bash", "-c", script.replace(f"/dev/fd/{reader}", f"/proc/{os.getpid()}/fd/{reader}")]

    try:
        completed = await SystemRunner(lines).run(argv, stdin="given\n", timeout=scaled(10))
    finally:
        os.close(reader)
        os.close(writer)

    assert completed.code == 4
    assert completed.stdout == "first\ngiven\n\x1b[31mtoken: abc\x1b[0m\n\n\x01end"
    assert completed.stderr == "1 %\r2 %\r\n"
    assert sorted(seen) == sorted(["first", "1 %", "2 %", "given", "token: …", "?end"])
    assert seen[0] == "first"


async def test_lines_of_one_that_does_not_listen() -> None:
    """A program that closes its input before it has read all of it is no failure of ours."""
    completed = await SystemRunner(lambda _line: None).run(["/bin/sh", "-c", "exec <&-; echo done"], stdin="x" * 2**20)

    assert completed == Completed(0, "done\n", "")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("K3S_TOKEN=abc next", "K3S_TOKEN=… next"),
        ('{"password": "abc"}', '{"password": …'),
        ("from https://me:secret@host/v2", "from https://…@host/v2"),
        ("secret/litellm-key created", "secret/litellm-key created"),
    ],
)
def test_masked(said: str, shown: str) -> None:
    """What follows the word for a secret is cut out, and so are the credentials in a URL."""
    assert masked(said) == shown


def test_plain() -> None:
    """Escape sequences are taken out, and nothing else."""
    assert plain("\x1b[36mINFO\x1b[0m[0000] a [b]\x1b[?25h") == "INFO[0000] a [b]"


@pytest.mark.parametrize(("said", "told"), [("a\n b \n\n", "b"), ("", "nothing"), (" \n", "nothing")])
def test_last_line(said: str, told: str) -> None:
    """Programs say at the end what went wrong; some say nothing."""
    assert last_line(said, "nothing").strip() == told
