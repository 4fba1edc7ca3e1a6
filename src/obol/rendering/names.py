"""What a stack is called by those that run it, whichever backend that is."""

from __future__ import annotations

import hashlib

STACK_LABEL = "obol.cluster-id"
HOME_LABEL = "obol.home"
"""By it a cluster is found whose stack has lost its name; see `home_mark`."""


def stack_name(stack_id: str) -> str:
    """The name of its cluster, network or node, and what the names of its other parts begin with."""
    return f"obol-stack-{stack_id}"


def home_mark(machine: str, config: str) -> str:
    """What stands for the configuration directory of a stack, by its absolute path, on one of many machines.

    Several machines may use one Docker, and on each of them the directory may be called the same.
    """
    return hashlib.sha256(f"{machine}\0{config}".encode(errors="surrogateescape")).hexdigest()[:24]
