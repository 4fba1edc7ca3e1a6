"""Manifests with other images in them: what `[stack.images]` of `obol.toml` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from obol.workloads.images import documents_of, pod_containers
from obol.workloads.sources import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obol.oci.references import ImageReference


def with_images(manifest: Manifest, overrides: Mapping[str, ImageReference]) -> Manifest:
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
    return Manifest(manifest.name, yaml.safe_dump_all(documents, sort_keys=False))
