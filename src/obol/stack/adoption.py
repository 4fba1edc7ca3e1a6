"""A cluster of k3d that goes on although its stack has lost its name, and what follows from what was found.

A stack is known by two files. Where these are lost, a new name would make a second cluster, and the old one would keep
its ports and its memory, and be named nowhere. So clusters bear a mark of the directory that they were made for. One of
an earlier version has none: it is known by the stack's data directory, which its node sees, and which says whose it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from obol.backends.ports import ORIGINAL
from obol.errors import ObolError
from obol.rendering.k3d import DATA
from obol.rendering.names import HOME_LABEL, STACK_LABEL, stack_name
from obol.stack.home import STACK_ID, Identity, NameLost, is_ours, is_stack_id

if TYPE_CHECKING:
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Container

LOOK_WITHIN = 5.0
"""Seconds that a command waits for Docker, which it may have no other use for."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """What there is on a Docker, by the names of the stacks, running or stopped."""

    here: tuple[str, ...] = ()
    """Made for our directory."""
    elsewhere: frozenset[str] = frozenset()


async def look(docker: Docker, config: Path, data: Path, mark: str) -> Clusters:
    """Look for the clusters of stacks. There are none where Docker cannot be asked, or takes too long."""
    try:
        async with asyncio.timeout(LOOK_WITHIN):
            containers = await docker.containers(labels=("app=k3d", STACK_LABEL))
    except (ObolError, TimeoutError):
        return Clusters()
    owned = is_ours(data, config)
    here = {
        one.labels[STACK_LABEL]
        for one in containers
        if one.labels.get(HOME_LABEL) == mark or (owned and HOME_LABEL not in one.labels and _sees(one, data))
    }
    return Clusters(
        tuple(sorted(filter(is_stack_id, here))), frozenset(one.labels[STACK_LABEL] for one in containers) - here
    )


def settle(written: Identity | NameLost | None, there: Clusters, config: Path) -> tuple[Identity | None, str]:
    """Tell which stack this is, by what is written and by the clusters that are there; with a line for the person.

    Raises NameLost, or ObolError where it might be several.
    """
    if isinstance(written, Identity) and (not there.here or written.stack_id in {*there.here, *there.elsewhere}):
        return written, _besides([stack_name(one) for one in there.here if one != written.stack_id])
    if len(there.here) > 1:
        raise _several(there.here, config)
    if not there.here:
        if isinstance(written, NameLost):
            raise written
        return None, ""
    (name,) = there.here
    if isinstance(written, Identity):
        why = f"{STACK_ID} names {written.stack_id}, of which there is no cluster"
    else:
        why = written.why if written else f"there is no {config / STACK_ID}"
    return Identity(name, ORIGINAL), f"The cluster {stack_name(name)} is this stack's, and is used again: {why}."


def _besides(names: Sequence[str]) -> str:
    """A line about clusters that a person would not find otherwise."""
    if not names:
        return ""
    are = f"The clusters {', '.join(names)} were" if len(names) > 1 else f"The cluster {names[0]} was"
    way = f"`k3d cluster delete {' '.join(names)}` removes what you do not need."
    return f"{are} made for this stack's directory too: {way}"


def _sees(container: Container, data: Path) -> bool:
    # Docker Desktop shows a directory of the host by its path in the virtual machine.
    return container.mounts.get(DATA, "").endswith(str(data))


def _several(there: Sequence[str], config: Path) -> ObolError:
    names = " and ".join(map(stack_name, there))
    return ObolError(
        "it is not known which stack this is",
        why=f"there are clusters of several that were made for {config}: {names}",
        hint=f"name one to go on with: `echo {there[0]} > {config / STACK_ID}`; `k3d cluster delete` removes others",
    )
