"""How this process gives memory back to the system."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
"""malloc.h of glibc."""


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
