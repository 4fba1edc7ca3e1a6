"""Which runtimes this machine has, by asking their command lines; what follows from it is decided elsewhere.

Docker is asked for the version of its daemon: a client without one, or without permission to talk to it, runs nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from obol.backends.ports import Program, Runtimes, by_preference
from obol.errors import DependencyMissing, ObolError
from obol.machine.commands import last_line

if TYPE_CHECKING:
    from obol.machine.commands import Runner

LIMIT = 5.0
"""Seconds: a Docker daemon that starts or hangs keeps its client waiting without end."""

_QUESTIONS = {
    "docker": ("docker", "version", "--format", "{{.Server.Version}}"),
    "podman": ("podman", "version", "--format", "{{.Client.Version}}"),
    "k3s": ("k3s", "--version"),
}
"""How a program is asked for its version, where that is not `PROGRAM version`."""


async def detect(runner: Runner) -> Runtimes:
    """Ask all of them at once; takes LIMIT seconds at most. What is missing or does not answer is an answer too."""
    async with asyncio.TaskGroup() as group:
        programs = dict.fromkeys(name for row in by_preference() for name in row.programs)
        asked = [group.create_task(_ask(runner, _QUESTIONS.get(name, (name, "version")))) for name in programs]
    return Runtimes(tuple(task.result() for task in asked), is_root=os.geteuid() == 0)


async def _ask(runner: Runner, argv: tuple[str, ...]) -> Program:
    name = argv[0]
    try:
        completed = await runner.run(argv, timeout=LIMIT)
    except DependencyMissing:
        return Program(name)
    except ObolError as problem:  # it did not end in time
        return Program(name, trouble=problem.what)
    first = next(iter(completed.stdout.split("\n", 1)), "").strip()
    if completed.code == 0 and first:
        # "k3d version v5.9.0", "k3s version v1.35.5+k3s1 (b3f4d7a0)": the others say the number alone.
        return Program(name, version=first.partition(" (")[0].rpartition(" ")[2].removeprefix("v"))
    return Program(name, trouble=last_line(completed.stderr, f"`{' '.join(argv)}` failed with {completed.code}"))
