from __future__ import annotations

from obol.oci.references import ImageReference
from obol.workloads.images import images_in
from obol.workloads.rewriting import with_images
from obol.workloads.sources import Manifest, packaged

OTHER = ImageReference.parse("ghcr.io/own/litellm:1")


def test_named_containers_run_other_images() -> None:
    """The image of a container is replaced, and nothing else of what the manifest says."""
    (manifest,) = (one for one in packaged() if one.name == "litellm.yaml")

    changed = with_images(manifest, {"litellm": OTHER})

    assert [used.reference for used in images_in(changed)] == [OTHER]
    assert "kind: Service" in changed.text


def test_a_manifest_without_the_container_stays_as_it_is() -> None:
    """Where nothing is replaced, comments and layout are kept."""
    manifest = Manifest("x.yaml", "# mine\nspec: {containers: [{name: a, image: b}]}\n")

    assert with_images(manifest, {"litellm": OTHER}) is manifest
