"""The images that the stack needs: read out of manifests, replaced as `obol.toml` says, and those of k3s.

The reader knows nothing of kinds: it takes for the template of a pod all that has a list `containers` (or
`initContainers`) whose items name an image. So it reads Deployments, CronJobs, Lists and the custom resources of
operators alike. Text within a ConfigMap is a string here, and a schema has no such lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import yaml

from obol.errors import SettingsError, UsageError
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.workloads import k3s
from obol.workloads.configs import check_configs
from obol.workloads.sources import ManifestFile, packaged

_LISTS = ("initContainers", "containers")
"""In the order in which a node pulls."""


@dataclass(frozen=True, slots=True)
class StackImage:
    """An image that the stack needs."""

    reference: ImageReference
    needed_by: tuple[str, ...]
    """The containers that run it, or the version of k3s that comes with it."""


@dataclass(frozen=True, slots=True)
class UsedImage:
    """What one container runs."""

    container: str
    """Its name; "" where it has none."""
    reference: ImageReference
    manifest: str
    """The name of the manifest that says so."""


def images_in(manifest: ManifestFile) -> tuple[UsedImage, ...]:
    """Read the images of all containers of all documents, in their order; one that is used twice comes twice.

    Raises UsageError for text that is not YAML, with the line, and for an image that is not a reference.
    """
    return tuple(
        UsedImage(container, _reference(image, container, manifest), manifest.name)
        for document in documents_of(manifest)
        for container, image in _used(document)
    )


def documents_of(manifest: ManifestFile) -> list[object]:
    """The documents of a manifest, as YAML reads them. Raises UsageError, with the line."""
    try:
        return list(yaml.safe_load_all(manifest.text))
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise _unusable(manifest, f"{problem.problem or problem.context}{where}") from problem
    except (yaml.YAMLError, ValueError) as problem:  # a character that is not allowed; a date that does not exist
        raise _unusable(manifest, " ".join(str(problem).split())) from problem
    except RecursionError as problem:
        raise _unusable(manifest, "it is nested too deeply") from problem


def _used(document: object) -> Iterator[tuple[str, object]]:
    for container in pod_containers(document):
        if "image" in container:
            yield str(container.get("name", "")), container["image"]


def pod_containers(document: object) -> Iterator[dict[str, object]]:
    """Find each container of a document, of any kind of object; they may be changed.

    A node that is reached again, by an alias, is looked at once: aliases may multiply without end, or form a ring.
    """
    seen: set[int] = set()
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, Mapping | list):
            continue
        seen.add(id(node))
        if isinstance(node, list):
            waiting += reversed(node)
            continue
        for key in _LISTS:
            listed = node.get(key)
            yield from (one for one in listed if isinstance(one, dict)) if isinstance(listed, list) else ()
        waiting += reversed(list(node.values()))


def _reference(image: object, container: str, manifest: ManifestFile) -> ImageReference:
    named = f"the image of container {container}" if container else "an image"
    if not isinstance(image, str):
        raise _unusable(manifest, f"{named} is not text: {image}")
    try:
        return ImageReference.parse(image)
    except OciError as problem:
        raise _unusable(manifest, f"{named} is not a reference: {problem.detail or image}") from problem


def _unusable(manifest: ManifestFile, why: str) -> UsageError:
    return UsageError(
        f"the manifest {manifest.name} cannot be used", why=why, hint="mend that line, or leave the file out"
    )


def with_images(manifest: ManifestFile, overrides: Mapping[str, ImageReference]) -> ManifestFile:
    """The manifest with these images, by container name; the same where it has none of the containers.

    Comments and layout of a changed one are lost: it goes to a cluster, not to a person. Raises UsageError.
    """
    changed = False
    documents = documents_of(manifest)
    for document in documents:
        for container in pod_containers(document):
            image = overrides.get(str(container.get("name")))
            if image is not None:
                container["image"] = str(image)
                changed = True
    if not changed:
        return manifest
    return ManifestFile(manifest.name, yaml.safe_dump_all(documents, sort_keys=False))


def stack_images(
    brought: Iterable[ManifestFile] = (),
    overrides: Mapping[str, ImageReference] | None = None,
    *,
    kubernetes: bool = True,
) -> tuple[StackImage, ...]:
    """List every image once, in the order in which they are worth fetching: large ones first.

    `kubernetes`: what k3s brings along is needed too. `overrides` are the references that containers of our own
    manifests run instead, by the container's name. Raises UsageError for a manifest that cannot be read, SettingsError
    for an override of a container that there is not.
    """
    return images_of(deployed(packaged(), brought, overrides or {}), kubernetes=kubernetes)


def deployed(
    workloads: Iterable[ManifestFile], brought: Iterable[ManifestFile], overrides: Mapping[str, ImageReference]
) -> tuple[ManifestFile, ...]:
    """The manifests that go to a cluster: the stack's own, with the images that run instead, and a person's as written.

    Raises UsageError, SettingsError as `stack_images` does; UsageError for a file in a ConfigMap, too.
    """
    workloads, brought = tuple(workloads), tuple(brought)
    check_configs((*workloads, *brought))
    return (*_ours(workloads, overrides), *brought)


def images_of(manifests: Iterable[ManifestFile], *, kubernetes: bool) -> tuple[StackImage, ...]:
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


def _ours(manifests: Iterable[ManifestFile], overrides: Mapping[str, ImageReference]) -> list[ManifestFile]:
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
