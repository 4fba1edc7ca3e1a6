"""Which images the stack needs: those of its own manifests, of the ones that a person brings, and those of k3s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.errors import SettingsError
from obol.stack.plan import StackImage
from obol.workloads import k3s
from obol.workloads.images import images_in
from obol.workloads.sources import packaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from obol.oci.references import ImageReference
    from obol.workloads.sources import Manifest


def stack_images(
    brought: Iterable[Manifest] = (), overrides: Mapping[str, ImageReference] | None = None, *, kubernetes: bool = True
) -> tuple[StackImage, ...]:
    """List every image once, in the order in which they are worth fetching: large ones first.

    `kubernetes`: what k3s brings along is needed too. `overrides` are the references that containers of our own
    manifests run instead, by the container's name. Raises UsageError for a manifest that cannot be read, SettingsError
    for an override of a container that there is not.
    """
    overrides = overrides or {}
    own = [used for manifest in packaged() for used in images_in(manifest)]
    _check(overrides, sorted({used.container for used in own}))
    needs = [(overrides.get(used.container, used.reference), used.container) for used in own]
    needs += [(used.reference, used.container or used.manifest) for one in brought for used in images_in(one)]
    if kubernetes:
        needs += [(reference, f"k3s {k3s.VERSION}") for reference in k3s.builtin_images()]
    needed_by: dict[ImageReference, list[str]] = {}
    for reference, who in needs:
        whos = needed_by.setdefault(reference, [])
        if who not in whos:
            whos.append(who)
    return tuple(StackImage(reference, tuple(whos)) for reference, whos in needed_by.items())


def _check(overrides: Mapping[str, ImageReference], known: list[str]) -> None:
    problems = tuple(
        f"obol.toml: stack.images.{name}: the stack has no such container (it has {' and '.join(known)})"
        for name in overrides
        if name not in known
    )
    if problems:
        raise SettingsError(problems)
