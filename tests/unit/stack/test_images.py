from __future__ import annotations

import pytest

from obol.errors import SettingsError, UsageError
from obol.oci.references import ImageReference
from obol.stack.images import deployed, images_of, stack_images
from obol.workloads import k3s
from obol.workloads.sources import Manifest, packaged

MINE = Manifest(
    "mine.yaml",
    """
    spec:
      containers:
        - {name: app, image: "quay.io/prometheus/prometheus:v3.9.1"}
        - {image: busybox}
    """,
)


def test_own_images() -> None:
    """The stack needs its gateway, its monitoring, and what k3s brings along, from three registries."""
    images = stack_images()

    assert [str(image.reference) for image in images[:2]] == [
        "ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable",
        "quay.io/prometheus/prometheus:v3.9.1",
    ]
    assert [image.needed_by for image in images[:2]] == [("litellm",), ("prometheus",)]
    assert {image.needed_by for image in images[2:]} == {(f"k3s {k3s.VERSION}",)}
    assert {image.reference.registry for image in images} == {"docker.io", "ghcr.io", "quay.io"}


def test_brought_images() -> None:
    """An image that several need comes once, and says who needs it."""
    images = {str(image.reference): image.needed_by for image in stack_images([MINE, MINE])}

    assert images["quay.io/prometheus/prometheus:v3.9.1"] == ("prometheus", "app")
    assert images["docker.io/library/busybox:latest"] == ("mine.yaml",)
    assert len(images) == len(stack_images()) + 1


def test_overrides() -> None:
    """A container of ours can run another image; that of the manifest is not needed then."""
    other = ImageReference.parse("ghcr.io/me/litellm:dev")

    images = stack_images(overrides={"litellm": other})

    assert images[0].reference == other
    assert not any(image.reference.repository.endswith("litellm-non_root") for image in images)


def test_override_of_nothing() -> None:
    """An override for a container that there is not is told with those that there are."""
    with pytest.raises(SettingsError) as caught:
        stack_images(overrides={"litelm": ImageReference.parse("a/b:1")})

    assert caught.value.problems == (
        "obol.toml: stack.images.litelm: the stack has no such container (it has litellm and prometheus)",
    )


def test_deployed() -> None:
    """What goes to a cluster runs the images that are listed for it; a person's manifests are as they wrote them."""
    other = ImageReference.parse("ghcr.io/me/prometheus:dev")

    manifests = deployed(packaged(), [MINE], {"prometheus": other})

    assert manifests[-1] == MINE
    listed = [image.reference for image in images_of(manifests, kubernetes=False)]
    assert listed == [
        ImageReference.parse("ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable"),
        other,
        ImageReference.parse("quay.io/prometheus/prometheus:v3.9.1"),
        ImageReference.parse("docker.io/library/busybox:latest"),
    ]


@pytest.mark.parametrize("ours", [True, False])
def test_spoilt_config(ours: bool) -> None:
    """A file in a ConfigMap that cannot be parsed is refused before anything is deployed, whoever wrote it."""
    spoilt = Manifest("spoilt.yaml", "kind: ConfigMap\ndata: {config.yaml: 'a: ['}\n")

    with pytest.raises(UsageError, match=r"the entry config.yaml in the manifest spoilt.yaml"):
        deployed(*(([spoilt], []) if ours else ([], [spoilt])), {})
