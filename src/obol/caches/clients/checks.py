"""A client's own check of the files that were written for it; where it refuses them, nothing of ours is in them."""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING

from obol.caches.clients.clients import undo, write
from obol.errors import DependencyMissing, ObolError
from obol.machine.commands import last_line

if TYPE_CHECKING:
    from obol.caches.clients.clients import Setup
    from obol.caches.clients.place import Place
    from obol.machine.commands import Completed, Runner
    from obol.machine.originals import EditedFile, Originals

_WITHIN = 20.0
_NOWHERE = "docker://127.0.0.1:1/nothing"
"""An image on a port at which nobody listens: skopeo reads all files of settings before it looks there."""


async def write_checked(wanted: Setup, place: Place, originals: Originals, runner: Runner) -> tuple[EditedFile, ...]:
    """Let the files say it, and ask the client whether it reads them.

    Raises ObolError, and nothing of ours is in them then.
    """
    changes = write(wanted, place, originals)
    if all(change.action == "unchanged" for change in changes):
        return changes
    try:
        why = await _refusal(wanted, place, runner)
    except asyncio.CancelledError:  # nobody knows whether it would take them
        undo(wanted.client, place, originals)
        raise
    if why:
        undo(wanted.client, place, originals)
        raise ObolError(
            f"{wanted.client} refuses the new files, so obol took out again what it had written",
            why=why,
            hint="mend what it names, and repeat the command",
        )
    return changes


async def _refusal(wanted: Setup, place: Place, runner: Runner) -> str:
    """What the client says of its files; "" where it reads them, or has no check, or is not here."""
    match wanted.client:
        case "docker":
            return await _dockerd(wanted, runner)
        case "podman" | "skopeo" if place.given is None:
            return await _registries(runner)
        case _:
            return ""


async def _dockerd(wanted: Setup, runner: Runner) -> str:
    for one in wanted.files:
        done = await _run(runner, "dockerd", "--validate", f"--config-file={one.path}")
        # Before version 23 there is no such flag.
        if done is not None and done.code and "unknown flag: --validate" not in done.stderr:
            return last_line(done.stderr, f"`dockerd --validate` ended with {done.code}")
    return ""


async def _registries(runner: Runner) -> str:
    done = await _run(runner, "skopeo", "inspect", _NOWHERE)
    if done is None:
        with tempfile.TemporaryDirectory(prefix="obol-") as aside:  # podman makes its store, wherever it is looked at
            store = ("--root", f"{aside}/root", "--runroot", f"{aside}/run", "--storage-driver", "vfs")
            done = await _run(runner, "podman", *store, "info")
    if done is None or "registries" not in done.stderr:
        return ""
    return last_line(done.stderr, "") if done.code else ""


async def _run(runner: Runner, *argv: str) -> Completed | None:
    """A program that is not here, or does not end, says nothing."""
    try:
        return await runner.run(argv, timeout=_WITHIN)
    except (DependencyMissing, ObolError):
        return None
