import pytest

from obol.errors import UsageError
from obol.rendering.kubernetes import PodTemplate, Service, dump, mapped, named_port, read


def test_kinds_are_told_apart() -> None:
    """Workloads, services, maps, claims and secrets are found in all documents and lists; the rest is named."""
    text = """
apiVersion: v1
kind: List
items:
  - {kind: Pod, metadata: {name: one, labels: {a: b}}, spec: {containers: []}}
  - {kind: Deployment, metadata: {name: two, namespace: llm}, spec: {replicas: 2, template: {spec: {}}}}
---
kind: Service
metadata: {name: two, namespace: llm}
spec: {selector: {a: b}, ports: [{port: 80, targetPort: http}, {port: 81}]}
---
{kind: ConfigMap, metadata: {name: map}, data: {key: value}}
---
{kind: PersistentVolumeClaim, metadata: {name: claim}}
---
{kind: Secret, metadata: {name: secret}, data: {a: eA==}, stringData: {b: y}}
---
{kind: Namespace, metadata: {name: llm}}
---
{kind: CronJob, metadata: {name: nightly}}
---
{metadata: null}
---
just text
"""

    found = read([("mine.yaml", text)])

    assert [(one.name, one.namespace, dict(one.labels), one.replicas) for one in found.workloads] == [
        ("one", "default", {"a": "b"}, 1),
        ("two", "llm", {}, 2),
    ]
    assert found.services == [Service("two", "llm", {"a": "b"}, {80: "http", 81: 81})]
    assert list(found.config_maps) == [("default", "map")]
    assert list(found.claims) == [("default", "claim")]
    assert found.secrets == {("default", "secret"): {"a": "eA==", "b": "eQ=="}}
    assert found.others == ["CronJob nightly", "a document without a kind"]
    assert "eA==" not in repr(found)


@pytest.mark.parametrize("text", ["a: [", "{kind: Deployment, metadata: {name: x}}", "{kind: Pod, metadata: x}"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    """Text that is not YAML, or not as its kind has to be, is a mistake of whoever wrote it."""
    with pytest.raises(UsageError, match=r"the manifest mine\.yaml cannot be used"):
        read([("mine.yaml", text)])


def test_service_without_selector_selects_nothing() -> None:
    """A service leads to pods of its namespace that have all of its labels, and to none without any label."""
    workload = PodTemplate("app", "llm", {"a": "b", "c": "d"}, {})

    assert Service("s", "llm", {"a": "b"}, {}).selects(workload)
    assert not Service("s", "llm", {"a": "x"}, {}).selects(workload)
    assert not Service("s", "other", {"a": "b"}, {}).selects(workload)
    assert not Service("s", "llm", {}, {}).selects(workload)


def test_every_text_is_mapped() -> None:
    """Texts are changed wherever they stand, but for keys; other values stay."""
    assert mapped({"a": ["x", 1, None], "b": {"a": "y"}}, str.upper) == {"a": ["X", 1, None], "b": {"a": "Y"}}


def test_ports_by_name() -> None:
    """A port is a number, or a name of one of the container's."""
    container = {"ports": [{"containerPort": 1}, {"name": "http", "containerPort": 80}]}

    assert named_port(container, 8080) == 8080
    assert named_port(container, "8080") == 8080
    assert named_port(container, "http") == 80
    assert named_port(container, "other") is None
    assert named_port({}, "http") is None


def test_dump_shows_lines_and_no_aliases() -> None:
    """A text of several lines is written as such, and what occurs twice is written twice."""
    shared = {"c": "d"}

    assert dump([{"b": "x\ny\n", "a": [shared, shared]}]) == "---\nb: |\n  x\n  y\na:\n- c: d\n- c: d\n"
