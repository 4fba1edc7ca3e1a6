"""What this machine is, among others that may use the same Docker."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

_FILE = Path("/etc/machine-id")  # machine-id(5)


def machine_id(file: Path = _FILE) -> str:
    """Something that no other machine has and that stays; the host's name where there is nothing better."""
    with contextlib.suppress(OSError, UnicodeError):
        if found := file.read_text(encoding="ascii").strip():
            return found
    return socket.gethostname()
