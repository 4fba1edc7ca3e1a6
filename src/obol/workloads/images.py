"""Images read out of manifests.

Nothing is known of kinds: whatever has a list `containers` (or `initContainers`) whose items name an image is taken for
the template of a pod. So Deployments, CronJobs, Lists and the custom resources of operators are all read alike. Text
within a ConfigMap is a string to us, however much it looks like a manifest, and a schema has no such lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from obol.errors import UsageError
from obol.oci.errors import OciError
from obol.oci.references import ImageReference

if TYPE_CHECKING:
    from obol.workloads.sources import Manifest

_LISTS = ("initContainers", "containers")
"""In the order in which a node pulls."""


@dataclass(frozen=True, slots=True)
class UsedImage:
    """What one container runs."""

    container: str
    """Its name; "" where it has none."""
    reference: ImageReference
    manifest: str
    """The name of the manifest that says so."""


def images_in(manifest: Manifest) -> tuple[UsedImage, ...]:
    """Read the images of all containers of all documents, in their order; one that is used twice comes twice.

    Raises UsageError for text that is not YAML, with the line, and for an image that is not a reference.
    """
    return tuple(
        UsedImage(container, _reference(image, container, manifest), manifest.name)
        for document in documents_of(manifest)
        for container, image in _used(document)
    )


def documents_of(manifest: Manifest) -> list[object]:
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
    """Find each container of a document, whatever kind of object it is part of; they may be changed.

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


def _reference(image: object, container: str, manifest: Manifest) -> ImageReference:
    named = f"the image of container {container}" if container else "an image"
    if not isinstance(image, str):
        raise _unusable(manifest, f"{named} is not text: {image}")
    try:
        return ImageReference.parse(image)
    except OciError as problem:
        raise _unusable(manifest, f"{named} is not a reference: {problem.detail or image}") from problem


def _unusable(manifest: Manifest, why: str) -> UsageError:
    return UsageError(
        f"the manifest {manifest.name} cannot be used", why=why, hint="mend that line, or leave the file out"
    )
