"""What `obol stack purge` has removed and what stays, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.backends.ports import BACKENDS, ORIGINAL
from obol.cli.results.stack import Kept, PurgeResult
from obol.cli.terminal.present import tilde
from obol.workloads.images import images_of
from obol.workloads.sources import packaged

if TYPE_CHECKING:
    from obol.cli.results.stack import Removed
    from obol.stack.stacks import Removal

CHANGED = "you changed it"

_NAMES: dict[Removed, str] = {
    "images": "its images",
    "data": "its data",
    "manifests": "what was written for it",
    "caches": "the registry caches",
}


def purge_result(removal: Removal) -> PurgeResult:
    """What was removed, for programs."""
    identity, purged = removal.identity, removal.purged
    gone: dict[Removed, bool] = {
        "cluster": purged.removed,
        "images": removal.images,
        "data": removal.data,
        "manifests": identity is not None,
        "caches": removal.caches,
    }
    kept = [Kept(str(path), CHANGED) for path in purged.kept]
    if removal.kept_data is not None:
        kept.append(Kept(str(removal.kept_data[0]), removal.kept_data[1]))
    return PurgeResult(
        stack=identity.stack_id if identity is not None else None,
        backend=identity.backend if identity is not None else None,
        removed=tuple(what for what, is_gone in gone.items() if is_gone),
        kept=tuple(kept),
        notes=purged.notes,
    )


def purged_lines(result: PurgeResult) -> list[str]:
    """The same for people."""
    row = BACKENDS[result.backend or ORIGINAL]
    named = [{**_NAMES, "cluster": row.cluster}[one] for one in result.removed]
    what = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1] if named else "nothing"
    stack = f"the stack {result.stack}: " if result.stack else ""
    lines = [f"Removed {stack}{what}." if named else "There was nothing to remove."]
    lines += [f"{tilde(one.path)} stays: {one.why}." for one in result.kept]
    if row.keeps_images and "cluster" in result.removed and "images" not in result.removed:
        ours = " ".join(str(image.reference) for image in images_of(packaged(), kubernetes=False))
        lines.append(f"Its images stay in podman; to remove those that come with obol: podman image rm {ours}")
    return lines
