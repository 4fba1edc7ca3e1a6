"""Becoming root for what takes root, and giving root up where nothing needs it.

A person who is not root becomes it by sudo, which may have to ask for their password. sudo asks on the terminal, and
remembers the answer for that terminal. So it has to run in our own session: programs that are started by the other
runner have left the terminal, and would be asked again, in vain.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from obol.errors import DependencyMissing, ObolError
from obol.machine.commands import last_line

if TYPE_CHECKING:
    from obol.machine.commands import Completed, Runner

QUICK = 60.0
PATIENCE = 300.0
"""Seconds: for one program, if it is not known to take longer, and for a person to find their password."""


class AsRoot:
    """Runs programs as root."""

    def __init__(self, runner: Runner, uid: int, *, interactive: bool = True) -> None:
        self._runner = runner
        self._uid = uid
        self._interactive = interactive
        self._allowed = uid == 0

    async def authorise(self) -> None:
        """See to it that `run` works, and ask the person if that is needed. Raises ObolError, DependencyMissing."""
        if self._allowed:
            return
        try:
            asked = await self._runner.run(["sudo", "-n", "true"], timeout=QUICK)
            if asked.code and self._interactive:
                asked = await self._runner.run(["sudo", "-v"], timeout=PATIENCE)
        except DependencyMissing as problem:
            hint = "run obol as root, or install sudo"
            raise DependencyMissing("this takes root, and there is no sudo", why=problem.why, hint=hint) from problem
        if asked.code:
            ask = "" if self._interactive else "OBOL_NONINTERACTIVE=true forbids to ask for a password; "
            raise ObolError(
                "this takes root, and sudo does not allow it",
                why=f"{ask}{last_line(asked.stderr, 'sudo said no')}",
                hint="run `sudo -v` before, or run obol as root",
            )
        self._allowed = True

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, within: float = QUICK
    ) -> Completed:
        """Run a program as root to its end; any exit code is an answer. `env` is for root only: sudo has its own.

        Raises what `Runner.run` and `authorise` do.
        """
        await self.authorise()
        prefix = () if self._uid == 0 else ("sudo", "-n")
        return await self._runner.run([*prefix, *argv], env=env, timeout=within)

    async def must(self, what: str, argv: Sequence[str], *, hint: str = "", within: float = QUICK) -> None:
        """The same; raises ObolError too where the program fails."""
        done = await self.run(argv, within=within)
        if done.code:
            raise ObolError(what, why=last_line(done.stderr, f"`{argv[0]}` ended with {done.code}"), hint=hint)


def become_owner(*paths: Path) -> None:
    """Where we are root, be the owner of the first of these paths that is there, from now on and for good.

    So what is written there belongs to whom the directory belongs, and a directory of root's is written by root. Where
    none is there, or where we may not change who we are (a container without that capability), nothing happens.
    """
    if os.geteuid() != 0:
        return
    owner = next((path.stat() for path in paths if path.exists()), None)
    if owner is None or owner.st_uid == 0:
        return
    with suppress(PermissionError):
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
