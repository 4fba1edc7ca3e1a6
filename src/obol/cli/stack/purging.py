"""What `obol stack purge` has removed and what stays, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.cli.results.stack import Kept, PurgeResult
from obol.cli.terminal.present import tilde

if TYPE_CHECKING:
    from pathlib import Path

    from obol.cli.results.stack import Removed
    from obol.stack.home import Identity
    from obol.stack.lifecycle import Purged

NOT_OURS = "it was not made by obol for this stack"
CHANGED = "you changed it"
DATA = "it is the stack's data; `obol stack purge --force` removes it"

_NAMES = {
    "cluster": "the cluster",
    "images": "its images",
    "data": "its data",
    "manifests": "what was written for it",
    "caches": "the registry caches",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What was to go besides the stack."""

    force: bool
    caches: bool
    """And there were some."""


def dispose(data: Path, config: Path, *, force: bool) -> Kept | None:
    """Remove the stack's data, where that is wished and it is the stack's; gives what stays of it."""
    from obol.stack.home import is_ours, remove

    if not data.exists():
        return None
    if not is_ours(data, config):
        return Kept(str(data), NOT_OURS) if force else None
    if not force:
        return Kept(str(data), DATA)
    remove(data)
    return None


def purge_result(
    identity: Identity | None, purged: Purged, data: Kept | None, wish: Wish, *, had_data: bool
) -> PurgeResult:
    """What was removed, for programs; `had_data`: there was data of the stack before."""
    removed: list[Removed] = []
    removed += ["cluster"] if purged.removed else []
    removed += ["images"] if purged.removed and wish.force else []
    removed += ["data"] if had_data and data is None and wish.force else []
    removed += ["manifests"] if identity is not None else []
    removed += ["caches"] if wish.caches else []
    kept = [Kept(str(path), CHANGED) for path in purged.kept]
    kept += [data] if data is not None else []
    return PurgeResult(
        stack=identity.stack_id if identity is not None else None,
        backend=identity.backend if identity is not None else None,
        removed=tuple(removed),
        kept=tuple(kept),
        notes=purged.notes,
    )


def purged_lines(result: PurgeResult) -> list[str]:
    """The same for people."""
    names = {**_NAMES, "cluster": "its pods and their volumes"} if result.backend == "podman" else _NAMES
    named = [names[one] for one in result.removed]
    what = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1] if named else "nothing"
    stack = f"the stack {result.stack}: " if result.stack else ""
    lines = [f"Removed {stack}{what}." if named else "There was nothing to remove."]
    lines += [f"{tilde(one.path)} stays: {one.why}." for one in result.kept]
    if result.backend == "podman" and "cluster" in result.removed and "images" not in result.removed:
        lines.append(f"Its images stay in podman; to remove those that come with obol: podman image rm {_packaged()}")
    return lines


def _packaged() -> str:
    from obol.workloads.images import images_of
    from obol.workloads.sources import packaged

    return " ".join(str(image.reference) for image in images_of(packaged(), kubernetes=False))
