"""Kubernetes documents read as far as a backend without Kubernetes needs them: workloads, and what they name.

Names of ConfigMaps, Secrets and claims are unique within a namespace only, so they are kept as pairs of both.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from obol.errors import UsageError

Key = tuple[str, str]
"""A namespace, and a name in it."""

IMPLIED = frozenset({"Namespace", "Service", "Ingress"})
"""Kinds that need no counterpart: without them the workload is there just the same."""


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod, or the template of one."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    replicas: int = 1
    manifest: str = ""
    """What the manifest is called that it is from."""


@dataclass(frozen=True, slots=True)
class Service:
    """A name for the pods that have certain labels."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    ports: Mapping[int, int | str]
    """Which port of the pod, by number or name, is behind which of its own."""

    def selects(self, workload: PodTemplate) -> bool:
        """Tell whether it leads to this workload."""
        same = workload.namespace == self.namespace and bool(self.selector)
        return same and all(workload.labels.get(name) == value for name, value in self.selector.items())


@dataclass(slots=True)
class KubernetesObjects:
    """All documents of all manifests, by what they are."""

    workloads: list[PodTemplate] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    config_maps: dict[Key, dict[str, Any]] = field(default_factory=dict)
    claims: dict[Key, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[Key, dict[str, str]] = field(default_factory=dict, repr=False)
    """Values in base64."""
    others: list[str] = field(default_factory=list)
    """Kind and name of those that are none of these."""


def read(manifests: Iterable[tuple[str, str]]) -> KubernetesObjects:
    """Read manifests, each a name for messages and its text.

    Raises UsageError for text that is not YAML, and for a document that is not as its kind has to be.
    """
    found = KubernetesObjects()
    for name, text in manifests:
        try:
            for document in yaml.safe_load_all(text):
                _add(found, document, name)
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as problem:
            why = " ".join(str(problem).split())
            raise UsageError(
                f"the manifest {name} cannot be used", why=why, hint="mend it, or leave it out"
            ) from problem
    return found


def _add(found: KubernetesObjects, document: Any, manifest: str) -> None:
    if not isinstance(document, dict):
        return
    kind, metadata = str(document.get("kind", "")), document.get("metadata") or {}
    if kind.endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            _add(found, item, manifest)
        return
    key = (str(metadata.get("namespace") or "default"), str(metadata.get("name", "")))
    match kind:
        case "Deployment" | "Pod":
            found.workloads.append(_workload(key, document, manifest))
        case "Service":
            found.services.append(_service(key, document.get("spec") or {}))
        case "ConfigMap":
            found.config_maps[key] = document
        case "PersistentVolumeClaim":
            found.claims[key] = document
        case "Secret":
            found.secrets[key] = _secret(document)
        case _ if kind not in IMPLIED:
            found.others.append(f"{kind or 'a document without a kind'} {key[1]}".rstrip())


def _workload(key: Key, document: Mapping[str, Any], manifest: str) -> PodTemplate:
    pod, replicas = document, 1
    if document["kind"] == "Deployment":
        pod, replicas = document["spec"]["template"], document["spec"].get("replicas", 1)
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return PodTemplate(key[1], key[0], labels, pod["spec"], replicas, manifest)


def _service(key: Key, spec: Mapping[str, Any]) -> Service:
    ports = {int(port["port"]): port.get("targetPort", port["port"]) for port in spec.get("ports") or ()}
    return Service(key[1], key[0], spec.get("selector") or {}, ports)


def _secret(document: Mapping[str, Any]) -> dict[str, str]:
    plain = {name: encode(str(value)) for name, value in (document.get("stringData") or {}).items()}
    return {**{name: str(value) for name, value in (document.get("data") or {}).items()}, **plain}


def encode(value: str) -> str:
    """A value as a Secret has it."""
    return base64.b64encode(value.encode()).decode()


def mapped(node: Any, change: Callable[[str], str]) -> Any:
    """A copy of a document in which every text was changed; keys stay."""
    match node:
        case str():
            return change(node)
        case dict():
            return {key: mapped(value, change) for key, value in node.items()}
        case list():
            return [mapped(item, change) for item in node]
        case _:
            return node


def named_port(container: Mapping[str, Any], port: int | str) -> int | None:
    """The number of a port that may be given by its name; None for a name that the container does not have."""
    if isinstance(port, int) or str(port).isdecimal():
        return int(port)
    for candidate in container.get("ports") or ():
        if candidate.get("name") == port:
            return int(candidate["containerPort"])
    return None


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and never an alias."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(documents: Iterable[Mapping[str, Any]]) -> str:
    """Write documents as YAML, in the order of their keys."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)
