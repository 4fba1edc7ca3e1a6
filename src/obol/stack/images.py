"""Which images the stack needs: those of its own manifests, of the ones that a person brings, and those of k3s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.errors import SettingsError
from obol.stack.plan import StackImage
from obol.workloads import k3s
from obol.workloads.configs import check_configs
from obol.workloads.images import images_in
from obol.workloads.rewriting import with_images
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
    return images_of(deployed(packaged(), brought, overrides or {}), kubernetes=kubernetes)


def deployed(
    workloads: Iterable[Manifest], brought: Iterable[Manifest], overrides: Mapping[str, ImageReference]
) -> tuple[Manifest, ...]:
    """The manifests that go to a cluster: the stack's own, with the images that run instead, and a person's as written.

    Raises UsageError, SettingsError as `stack_images` does; UsageError for a file in a ConfigMap, too.
    """
    workloads, brought = tuple(workloads), tuple(brought)
    check_configs((*workloads, *brought))
    return (*_ours(workloads, overrides), *brought)


def images_of(manifests: Iterable[Manifest], *, kubernetes: bool) -> tuple[StackImage, ...]:
    """List the images of manifests once, in their order. Raises UsageError."""
    needs = [(used.reference, used.container or used.manifest) for one in manifests for used in images_in(one)]
    if kubernetes:
        needs += [(reference, f"k3s {k3s.VERSION}") for reference in k3s.builtin_images()]
    needed_by: dict[ImageReference, list[str]] = {}
    for reference, who in needs:
        whos = needed_by.setdefault(reference, [])
        if who not in whos:
            whos.append(who)
    return tuple(StackImage(reference, tuple(whos)) for reference, whos in needed_by.items())


def _ours(manifests: Iterable[Manifest], overrides: Mapping[str, ImageReference]) -> list[Manifest]:
    own = list(manifests)
    if overrides:
        _check(overrides, sorted({used.container for manifest in own for used in images_in(manifest)}))
    return [with_images(manifest, overrides) for manifest in own]


def _check(overrides: Mapping[str, ImageReference], known: list[str]) -> None:
    problems = tuple(
        f"obol.toml: stack.images.{name}: the stack has no such container (it has {' and '.join(known)})"
        for name in overrides
        if name not in known
    )
    if problems:
        raise SettingsError(problems)
