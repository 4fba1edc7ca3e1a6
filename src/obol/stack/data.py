"""The stack's data directory: a node sees it, and it is removed only if it was made for a stack.

A person may name any directory of theirs for it. One that was there before, with something in it, stays theirs.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.regular import read, write_atomically
from obol.machine.texts import in_shell, shown
from obol.stack.state import explained

if TYPE_CHECKING:
    from pathlib import Path

MARK = ".obol-stack"
"""Names the configuration directory of the stacks that the directory was made for."""


def claim(data: Path, config: Path) -> None:
    """Have the directory, and mark it as ours if there was nothing in it. Raises ObolError."""
    for path, variable in ((data, "OBOL_DATA_DIR"), (config, "OBOL_CONFIG_DIR")):
        if not _is_text(path):
            raise ObolError(
                f"{shown(path)} cannot be used by a stack",
                why="its name is not UTF-8, and clusters are described in formats that take nothing else",
                hint=f"name another directory: {variable}",
            )
    with explained(data):
        data.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not any(data.iterdir()):
            write_atomically(data / MARK, os.fsencode(f"{config}\n"))


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_ours(data: Path, config: Path) -> bool:
    """Whether the directory was made for a stack of this configuration directory."""
    try:
        return os.fsdecode(read(data / MARK)).strip() == str(config)
    except (OSError, ValueError):
        return False


def remove(data: Path) -> None:
    """Remove a directory that was made for the stack. Raises ObolError."""
    try:
        shutil.rmtree(data)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise ObolError(
            f"the stack's data in {data} cannot be removed",
            why=problem.strerror or str(problem),
            hint=f"containers may have written it as root: sudo rm -rf {in_shell(data)}",
        ) from problem
