"""What is deployed: read out of manifests, and how far it is by what the cluster says of it. Values only: no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from obol.errors import ObolError
from obol.workloads.images import documents_of

if TYPE_CHECKING:
    from obol.workloads.sources import ManifestFile

_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
"""What every pod waits for at first."""


@dataclass(frozen=True, slots=True, order=True)
class Deployment:
    """A Deployment by its name."""

    namespace: str
    name: str
    manifest: str = field(default="", compare=False)
    """What the manifest is called that it is from; "" where that is not known."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a Deployment is."""

    deployment: Deployment
    ready: int = 0
    wanted: int = 1
    done: bool = False
    """The pods are as the manifest says, they are ready, and no older ones are left."""
    reasons: tuple[str, ...] = ()
    """Why its pods are not ready, each in a word or two: ImagePullBackOff."""
    details: tuple[str, ...] = ()
    """The same in full, with the pods' names."""

    def __str__(self) -> str:
        if self.done:
            return f"{self.deployment.name}: ready"
        why = f" ({', '.join(self.reasons)})" if self.reasons else ""
        return f"{self.deployment.name}: {self.ready} of {self.wanted} ready{why}"


@dataclass(frozen=True, slots=True)
class Applied:
    """What manifests bring to a cluster that matters here."""

    namespaces: tuple[str, ...]
    """Namespace documents, each as JSON: they have to be there before what is in them."""
    namespace_names: frozenset[str]
    deployments: tuple[Deployment, ...]
    ingresses: frozenset[str]
    """The Services that an Ingress leads to."""


def applied(manifests: Iterable[ManifestFile]) -> Applied:
    """Read manifests. Raises UsageError for text that is not YAML."""
    namespaces: dict[str, str] = {}
    deployments: dict[Deployment, None] = {}
    ingresses: set[str] = set()
    for file, document in ((manifest.name, one) for manifest in manifests for one in _objects(manifest)):
        metadata = document.get("metadata") or {}
        name = str(metadata.get("name", ""))
        match document.get("kind"):
            case "Namespace":
                namespaces[name] = json.dumps(document, default=str)
            case "Deployment":
                deployments[Deployment(str(metadata.get("namespace") or "default"), name, file)] = None
            case "Ingress":
                ingresses |= set(_services(document))
    return Applied(tuple(namespaces.values()), frozenset(namespaces), tuple(deployments), frozenset(ingresses))


def _objects(manifest: ManifestFile) -> Iterator[dict[str, Any]]:
    waiting = documents_of(manifest)
    for document in waiting:
        match document:
            case {"kind": str(kind), "items": list(items)} if kind.endswith("List"):
                waiting += items
            case dict():
                yield document


def _services(node: Any) -> Iterator[str]:
    """Find the backends of an Ingress, wherever in it they are named."""
    match node:
        case {"service": {"name": str(name)}}:
            yield name
        case dict():
            for value in node.values():
                yield from _services(value)
        case list():
            for value in node:
                yield from _services(value)


class _Waiting(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _State(msgspec.Struct, frozen=True):
    waiting: _Waiting | None = None
    terminated: _Waiting | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    state: _State = _State()
    last_state: _State = _State()


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    conditions: list[_Condition] | None = None
    container_statuses: list[_Container] | None = None
    init_container_statuses: list[_Container] | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    namespace: str = "default"
    generation: int = 0
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] | None = None


class _Spec(msgspec.Struct, frozen=True):
    replicas: int = 1
    selector: _Selector = _Selector()


class _Item(msgspec.Struct, frozen=True):
    kind: str
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _List(msgspec.Struct, frozen=True):
    items: list[_Item]


def rollouts(listing: str, wanted: Sequence[Deployment]) -> tuple[Rollout, ...]:
    """How far each of these is, by the JSON of `kubectl get deployments,pods`. Raises ObolError where it is none."""
    return _judged(_items(listing), wanted)


def deployed(listing: str, *, without: str) -> tuple[Rollout, ...]:
    """How far every Deployment of `kubectl get deployments,pods` is, but those of one namespace. Raises ObolError."""
    items = _items(listing)
    found = [_named(item) for item in items if item.kind == "Deployment" and item.metadata.namespace != without]
    return _judged(items, found)


def _items(listing: str) -> list[_Item]:
    try:
        return msgspec.json.decode(listing, type=_List).items
    except msgspec.DecodeError as problem:
        raise ObolError("kubectl lists Deployments in a way that we do not understand", why=str(problem)) from None


def _judged(items: Sequence[_Item], wanted: Iterable[Deployment]) -> tuple[Rollout, ...]:
    pods = [item for item in items if item.kind == "Pod" and item.metadata.deletion_timestamp is None]
    found = {_named(item): item for item in items if item.kind == "Deployment"}
    return tuple(_rollout(one, found[one], pods) if one in found else Rollout(one) for one in wanted)


def _named(item: _Item) -> Deployment:
    return Deployment(item.metadata.namespace, item.metadata.name)


def _rollout(deployment: Deployment, item: _Item, pods: Iterable[_Item]) -> Rollout:
    """Judge as `kubectl rollout status` does."""
    status, wanted = item.status, item.spec.replicas
    seen = status.observed_generation >= item.metadata.generation
    done = (
        seen
        and status.updated_replicas >= wanted
        and status.replicas <= status.updated_replicas
        and status.available_replicas >= status.updated_replicas
    )
    troubles = [] if done else [trouble for pod in pods if _selects(item, pod) for trouble in _troubles(pod)]
    reasons = dict.fromkeys(reason for reason, _detail in troubles if reason not in _STARTING)
    details = dict.fromkeys(detail for _reason, detail in troubles)
    # Pods of the version before, which go on until the new ones are ready, do not count.
    new = status.available_replicas - max(0, status.replicas - status.updated_replicas) if seen else 0
    return Rollout(deployment, min(max(new, 0), wanted), wanted, done, tuple(reasons), tuple(details))


def _selects(item: _Item, pod: _Item) -> bool:
    labels, wanted = pod.metadata.labels or {}, item.spec.selector.match_labels or {}
    same = pod.metadata.namespace == item.metadata.namespace and bool(wanted)
    return same and all(labels.get(name) == value for name, value in wanted.items())


def _troubles(pod: _Item) -> Iterator[tuple[str, str]]:
    """Yield why a pod is not ready: in a word, and in full."""
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield condition.reason, f"pod {pod.metadata.name}: {condition.reason}: {condition.message}"
    for container in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        for state in (container.state.waiting, container.last_state.terminated):
            if state is not None and state.reason and state.reason != "Completed":
                said = f": {' '.join(state.message.split())}" if state.message else ""
                yield state.reason, f"pod {pod.metadata.name}: {state.reason}{said}"
