"""The images that k3s pulls into a node by itself, which belong to its version."""

from __future__ import annotations

from importlib import resources

from obol.oci.references import ImageReference

VERSION = "v1.35.5+k3s1"
"""The k3s that the stack runs."""
NODE_IMAGE = f"docker.io/rancher/k3s:{VERSION.replace('+', '-')}"
"""What k3d runs as a node."""


def versions() -> tuple[str, ...]:
    """The versions whose images are known, in the order of the list."""
    return tuple(_lists())


def builtin_images(version: str = VERSION) -> tuple[ImageReference, ...]:
    """The images of one version. Raises KeyError for a version that is not in the list."""
    return _lists()[version]


def _lists() -> dict[str, tuple[ImageReference, ...]]:
    text = (resources.files("obol.workloads") / "k3s-images.txt").read_text(encoding="utf-8")
    found: dict[str, tuple[ImageReference, ...]] = {}
    version = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("["):
            version = line.strip("[]")
            found[version] = ()
        elif not line.startswith("#"):
            found[version] += (ImageReference.parse(line),)
    return found
