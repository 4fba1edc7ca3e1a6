"""Programs that outlive us. Apart from `commands`, so that who only asks one of them need not load an event loop."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from obol.machine.commands import User

_detached: list[subprocess.Popen[bytes]] = []
"""Kept, because a forgotten Popen warns that its process still runs, which is the purpose here."""


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
