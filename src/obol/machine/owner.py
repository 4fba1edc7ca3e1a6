"""Giving up root where nothing needs it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
