"""Gate on file descriptors of the store: only the store on disk and the outlet of the server look at one.

A blob in another kind of store has none, and over TLS the kernel cannot send it. So everything between asks for runs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("src/obol/registry", "src/obol/wiring")
ALLOWED = ("src/obol/registry/store/disk/", "src/obol/registry/server/outlet.py")
DESCRIPTOR = re.compile(r"\.descriptor\b|\bos\.(?:p?readv?|sendfile|dup)\b|(?<!bound)(?<!_listening)\.fileno\(")
"""Of files; sockets are called `bound` and `_listening`."""


def problems(root: Path) -> Iterator[str]:
    """Yield a line of text for each place below `root`, a checkout, that looks at a descriptor and may not."""
    for folder in ROOTS:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if name.startswith(ALLOWED):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if found := DESCRIPTOR.search(line):
                    yield f"{name}:{number}: {found[0]}: only the store on disk and the outlet look at descriptors"


def main() -> int:
    """Print the places; 1 if there is any."""
    found = list(problems(Path.cwd()))
    print("\n".join(found) or "file descriptors of the store stay in the store and the outlet")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
