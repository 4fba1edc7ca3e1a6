"""What a stack is called by those that run it, whichever backend that is."""

from __future__ import annotations

STACK_LABEL = "obol.cluster-id"


def stack_name(stack_id: str) -> str:
    """The name of its cluster, network or node, and what the names of its other parts begin with."""
    return f"obol-stack-{stack_id}"
