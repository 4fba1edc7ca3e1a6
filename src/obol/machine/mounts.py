"""File systems that are mounted on this machine, as far as one has to know them to remove a directory."""

from __future__ import annotations

import re
from pathlib import Path

_TABLE = Path("/proc/self/mounts")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def holding(directory: str, table: Path = _TABLE) -> tuple[str, ...]:
    """Where what is below a directory is mounted, or something that is made of it; innermost first.

    An overlay names the directories that it is made of among its options: see fstab(5) for the lines.
    """
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        _source, target, _kind, options, *_ = (_plain(field) for field in line.split(" "))
        if target.startswith(f"{directory}/") or f"{directory}/" in options:
            found.append(target)
    return tuple(sorted(dict.fromkeys(found), reverse=True))


def _plain(field: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)
