"""This machine as a whole: what it is, and what its system lets one process have."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import socket
from pathlib import Path

_MACHINE_ID = Path("/etc/machine-id")  # machine-id(5)
M_MMAP_THRESHOLD = -3
"""malloc.h of glibc."""


def machine_id(file: Path = _MACHINE_ID) -> str:
    """Something that no other machine has and that stays; the host's name where there is nothing better."""
    with contextlib.suppress(OSError, UnicodeError):
        if found := file.read_text(encoding="ascii").strip():
            return found
    return socket.gethostname()


def return_large_pieces(size: int = 256 * 1024) -> bool:
    """Let each piece of memory of at least `size` bytes go back to the system when it is freed, for good.

    glibc raises that size to what was freed last, so a program that once held a large answer would put the next ones
    among small things, between which they leave holes. Tells whether this C library was asked.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(set_option(M_MMAP_THRESHOLD, size))


def allow_many_open_files(most: int = 65_536) -> None:
    """Let this process open as many files as the system grants it, up to `most`; often 1024 is only where it begins."""
    granted, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if limit == resource.RLIM_INFINITY else min(most, limit)
    if granted == resource.RLIM_INFINITY or granted >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):  # macOS grants fewer than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit))


def open_files_limit(most: int = 65_536) -> int:
    """How many files this process may have open at a time; `most` where nothing limits it."""
    granted, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if granted == resource.RLIM_INFINITY else min(most, granted)
