"""Whether there may be cache containers, by what a cache root holds: most who ask have none, and wait for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OURS = frozenset({"builtin", "gateway", "containers"})
"""Directories of a cache root that are of no container."""


def has_traces(root: Path) -> bool:
    """Tell whether a directory of a container is there: each has one."""
    try:
        return any(one.name not in OURS and one.is_dir() for one in root.iterdir())
    except OSError:
        return False
