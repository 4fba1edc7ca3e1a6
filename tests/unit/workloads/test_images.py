from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.errors import SettingsError, UsageError
from obol.oci.references import ImageReference
from obol.workloads import k3s
from obol.workloads.images import deployed, images_in, images_of, stack_images, with_images
from obol.workloads.sources import ManifestFile, packaged

POD = """
apiVersion: v1
kind: Pod
spec:
  initContainers:
    - {name: first, image: "quay.io/a/first:1"}
  containers:
    - {name: main, image: alpine}
    - {name: side}
"""
CRON = """
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: "ghcr.io/a/cron:2"}]}}}}}
"""
LIST = """
kind: List
items:
  - kind: Deployment
    spec: {template: {spec: {containers: [{image: "a/one:1"}]}}}
  - kind: DaemonSet
    spec: {template: {spec: {containers: [{name: two, image: "a/two:1"}]}}}
"""
NOT_PODS = """
kind: ConfigMap
data:
  pod.yaml: |
    spec: {containers: [{name: c, image: nothing}]}
---
kind: CustomResourceDefinition
spec: {properties: {containers: {type: array, items: {image: {type: string}}}}}
---
- 1
---
"""


def read(text: str) -> list[tuple[str, str]]:
    """Containers and their images."""
    return [(used.container, str(used.reference)) for used in images_in(ManifestFile("m.yaml", text))]


def refused(text: str) -> UsageError:
    """The refusal of a manifest."""
    with pytest.raises(UsageError) as caught:
        read(text)
    assert "m.yaml" in caught.value.what
    return caught.value


def test_pod() -> None:
    """Containers that start first come first, names of images are made explicit, a container without one is left."""
    assert read(POD) == [("first", "quay.io/a/first:1"), ("main", "docker.io/library/alpine:latest")]


def test_any_kind() -> None:
    """Pod templates are found wherever they are, in every document, in their order."""
    assert read(f"{CRON}---{LIST}") == [
        ("c", "ghcr.io/a/cron:2"),
        ("", "docker.io/a/one:1"),
        ("two", "docker.io/a/two:1"),
    ]


def test_what_only_looks_alike() -> None:
    """Text in a ConfigMap, a schema and documents that are no mappings have no images."""
    assert read(NOT_PODS) == []


def test_template_by_alias() -> None:
    """A template that is used again by an alias, or merged into another, is read; a ring of aliases has an end."""
    text = """
    a: &t {containers: [{name: c, image: x/y:1}]}
    b: *t
    c: {<<: *t, hostNetwork: true}
    d: &ring [*ring, {containers: [{name: d, image: x/z:1}]}]
    """

    assert set(read(text)) == {("c", "docker.io/x/y:1"), ("d", "docker.io/x/z:1")}


def test_aliases_that_multiply() -> None:
    """A few lines that stand for millions of nodes take no time."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    assert read("\n".join(lines)) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\nb: [1\nc: 2", "line 3"),
        ("a: 1\n\tb: 2", "line 2"),
        ("a: !Secret x", "line 1"),
        ("a: \0", "special characters"),
        ("a: 2024-99-99", "month"),
        ("[" * 600, "nested"),
        ("containers: [{name: c, image: 1.2}]", "container c is not text: 1.2"),
        ("containers: [{name: c, image: 'a//b'}]", "container c is not a reference"),
        ("containers: [{image: '{{ .Values.image }}'}]", "an image is not a reference"),
    ],
)
def test_unusable(text: str, why: str) -> None:
    """What is not YAML, or names no image, is told with the file and the place."""
    assert why in refused(text).why


@given(st.text(alphabet="ab:-[]{}&*!|>\n \t'\"#%@`,?<=\0", max_size=60))
def test_no_text_is_a_surprise(text: str) -> None:
    """Any text at all has images, or is wrong usage."""
    with suppress(UsageError):
        images_in(ManifestFile("m.yaml", text))


OTHER = ImageReference.parse("ghcr.io/own/litellm:1")


def test_named_containers_run_other_images() -> None:
    """The image of a container is replaced, and nothing else of what the manifest says."""
    (manifest,) = (one for one in packaged() if one.name == "litellm.yaml")

    changed = with_images(manifest, {"litellm": OTHER})

    assert [used.reference for used in images_in(changed)] == [OTHER]
    assert "kind: Service" in changed.text


def test_a_manifest_without_the_container_stays_as_it_is() -> None:
    """Where nothing is replaced, comments and layout are kept."""
    manifest = ManifestFile("x.yaml", "# mine\nspec: {containers: [{name: a, image: b}]}\n")

    assert with_images(manifest, {"litellm": OTHER}) is manifest


MINE = ManifestFile(
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
    spoilt = ManifestFile("spoilt.yaml", "kind: ConfigMap\ndata: {config.yaml: 'a: ['}\n")

    with pytest.raises(UsageError, match=r"the entry config.yaml in the manifest spoilt.yaml"):
        deployed(*(([spoilt], []) if ours else ([], [spoilt])), {})
