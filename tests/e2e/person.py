"""Somebody with a home directory who types `obol …`, each command a process of its own."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes import jsonshape
from tests.fakes.store import hold_names
from tests.limits import eventually, scaled

COMMAND_WITHIN = 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Person:
    """Has `home`, and no setting or program but those in `environ` and `programs`."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    uid: int | None = None
    """Whom their commands run as; None: whoever runs the tests. Anybody else takes root."""
    python: str = sys.executable
    """What runs obol."""

    @property
    def programs(self) -> Path:
        return self.home.parent / f"{self.home.name}-programs"

    def install(self, name: str, script: str) -> None:
        """Give them a program: a shell script."""
        self.programs.mkdir(exist_ok=True)
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    async def obol(self, *arguments: str) -> Ran:
        """Run a command to its end; what it writes as JSON is held to its schema."""
        ran = await self.run(self.python, "-m", "obol", *arguments)
        jsonshape.hold(arguments, ran.out, ran.err)
        hold_names(self.home / ".local/state/obol/registry-cache/builtin")
        return ran

    async def run(self, *argv: str) -> Ran:
        environ = {"HOME": str(self.home), "PATH": str(self.programs), "COLUMNS": "80"}
        environ |= {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PYTHONDONTWRITEBYTECODE": "1", **self.environ}
        account: dict[str, Any] = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": ()}
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environ,
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            **account,
        )
        async with asyncio.timeout(scaled(COMMAND_WITHIN)):
            out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    def tree(self) -> list[str]:
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))

    async def gone(self) -> bool:
        """Whether nothing of theirs runs any more, soon: a process that has let go of its store is still to end."""
        await eventually(lambda: not self.processes(), story=self.processes)
        return True

    def processes(self) -> list[int]:
        """Processes that were started with this home directory, and still run."""
        mark = f"HOME={self.home}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:  # it has ended, or belongs to somebody else
                continue
        return found
