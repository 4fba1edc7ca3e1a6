"""The directories in which cache containers keep their content: made by us, written by root in a container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from obol.caches.containers.plan import STORAGE
from obol.errors import ObolError, StoreUnusable
from obol.machine.docker.cli import CHANGE_WITHIN
from obol.machine.files import failing_as
from obol.machine.texts import in_shell, shown

if TYPE_CHECKING:
    from pathlib import Path

    from obol.machine.commands import User
    from obol.machine.docker.cli import Docker

_CLEAR_WITHIN = 10 * CHANGE_WITHIN


def make_directory(directory: Path, account: User | None) -> None:
    """Make it and what is missing above it, for `account` where sudo made us root. Raises StoreUnusable."""
    if ":" in str(directory):
        raise StoreUnusable(
            f"{directory} cannot be given to a container",
            why="Docker reads a colon as the end of the path",
            hint="choose another directory for all caches: OBOL_REGISTRY_CACHE_DIR",
        )
    hint = "choose another directory for all caches: OBOL_REGISTRY_CACHE_DIR"
    with failing_as(f"{directory} cannot be used", hint, StoreUnusable):
        for missing in [path for path in (*reversed(directory.parents), directory) if not path.exists()]:
            missing.mkdir(mode=0o755, exist_ok=True)
            if account:
                os.chown(missing, account.uid, account.gid)


async def clear_directory(docker: Docker, directory: Path, image: str) -> str:
    """Remove it with its content; gives a sentence where that did not work, "" where it did.

    Its files are root's, so a plain user removes them as they were written: in a container.
    """
    if await asyncio.to_thread(_cleared, directory):
        return ""
    options = ("--network", "none", "--volume", f"{directory}:{STORAGE}:z", "--entrypoint", "find")
    with contextlib.suppress(ObolError):
        await docker.fetch(image)
        await docker.run_once(image, (STORAGE, "-mindepth", "1", "-delete"), options=options, within=_CLEAR_WITHIN)
    if await asyncio.to_thread(_cleared, directory):
        return ""
    return f"{shown(directory)} cannot be removed by this user: sudo rm -r {in_shell(directory)}"


def _cleared(directory: Path) -> bool:
    """Remove what we may; tells whether nothing is left. A link to elsewhere is not ours to follow."""
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()
    return True
