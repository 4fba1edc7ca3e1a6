"""Other programs as a port: run one to its end and see what it said.

Docker, k3d, podman and the like are used through their command lines, because these honour the contexts and
credential helpers that a person has set up, and because an argument vector can be asserted in a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from obol.errors import DependencyMissing, ObolError

_GRACE = 3.0
"""Seconds between asking a program to end and ending it."""

_CHUNK = 65536
_LINE_END = re.compile(rb"[\r\n]")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)+)")
_SECRET = re.compile(r"((?:token|password|secret)\S*?[=:]\s*)\S+", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(://)[^/\s]+@")


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended."""

    code: int
    """Its exit code; negative: the signal that killed it."""
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine."""

    uid: int
    gid: int


class Runner(Protocol):
    """Runs programs."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the limit of the child, which is killed by it
    ) -> Completed:
        """Run `argv` to its end, without a shell; any exit code is an answer.

        `env` replaces the whole environment. Raises DependencyMissing where there is no such program, and ObolError
        where it has not ended after `timeout` seconds; it is gone by then, with its children.
        """
        ...


Lines = Callable[[str], None]
"""Takes what a program says, a line at a time, as soon as it is said."""


def plain(text: str) -> str:
    """Take out the escape sequences that programs write for terminals, some of them into pipes too."""
    return _ESCAPES.sub("", text)


def check_version(program: str, version: str, oldest: tuple[int, ...], *, hint: str, why: str = "") -> None:
    """Raise DependencyMissing for a version below the `oldest` that we can use; one without numbers passes."""
    numbers = _VERSION.match(version)
    if numbers and tuple(map(int, numbers[1].split("."))) < oldest:
        raise DependencyMissing(f"{program} {version} is too old", why=why, hint=hint)


def last_line(said: str, otherwise: str) -> str:
    """Where programs say what went wrong: the last line of what they wrote, if they wrote anything."""
    return next(reversed(said.strip().splitlines()), otherwise)


def masked(text: str) -> str:
    """The text without what follows the word for a secret, and without the credentials in a URL."""
    return _CREDENTIALS.sub(r"\1…@", _SECRET.sub(r"\1…", text))


@dataclass(frozen=True, slots=True)
class SystemRunner:
    """Runs programs on this machine.

    With `lines`, each line of both outputs is passed on while the program runs, for people to see. So such a runner is
    only for commands whose output is for everybody: none that prints a kubeconfig, a token, or a list that has some.
    """

    lines: Lines | None = None
    on_terminal: bool = False
    """Leave them on our terminal, so that they can ask there. They then end as they like when they are to end."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the limit of the child, which is killed by it
    ) -> Completed:
        """Run `argv` to its end; see `Runner`."""
        child = await _start(argv, env, own_session=not self.on_terminal)
        try:
            async with asyncio.timeout(timeout):
                out, err = await self._talk(child, stdin.encode())
        except TimeoutError:
            raise ObolError(
                f"`{argv[0]}` did not end within {timeout:g} seconds", why=f"it was run as: {' '.join(argv)}"
            ) from None
        finally:
            await _end(child, group=not self.on_terminal)
        return Completed(child.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))

    async def _talk(self, child: asyncio.subprocess.Process, stdin: bytes) -> tuple[bytes, bytes]:
        """Give it its input, and hear both of its outputs to their end."""
        if self.lines is None:
            return await child.communicate(stdin)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        async with asyncio.TaskGroup() as group:
            out = group.create_task(_heard(child.stdout, self.lines))
            err = group.create_task(_heard(child.stderr, self.lines))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it does not want to hear us out
                child.stdin.write(stdin)
                await child.stdin.drain()
            child.stdin.close()
        await child.wait()
        return out.result(), err.result()


async def _start(
    argv: Sequence[str], env: Mapping[str, str] | None, *, own_session: bool
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            start_new_session=own_session,  # so that a kill takes its children too
        )
    except (FileNotFoundError, PermissionError) as problem:
        raise DependencyMissing(
            f"`{argv[0]}` cannot be run", why=problem.strerror or "", hint=f"install {argv[0]}, or add it to the PATH"
        ) from problem


async def _heard(stream: asyncio.StreamReader, lines: Lines) -> bytes:
    """Read a stream to its end, and pass its lines on; what a bar of progress writes over itself are lines too."""
    everything, rest = bytearray(), b""
    while chunk := await stream.read(_CHUNK):
        everything += chunk
        *whole, rest = _LINE_END.split(rest + chunk)
        for line in whole:
            _tell(line, lines)
    _tell(rest, lines)
    return bytes(everything)


def _tell(line: bytes, lines: Lines) -> None:
    text = plain(line.decode(errors="replace")).replace("\t", "  ").rstrip()
    if text:
        lines("".join(one if one.isprintable() else "?" for one in masked(text)))


async def _end(child: asyncio.subprocess.Process, *, group: bool) -> None:
    """Leave nothing behind: after a timeout or a cancellation the child is still there."""
    if child.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        # Without a session of its own it shares our group; and what sudo has started is not ours to signal.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if group else os.kill)(child.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await child.wait()
                return
