from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.errors import UsageError
from obol.workloads.images import images_in
from obol.workloads.sources import Manifest

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
    return [(used.container, str(used.reference)) for used in images_in(Manifest("m.yaml", text))]


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
        images_in(Manifest("m.yaml", text))
