"""Pods that start anew when their configuration changes.

Kubernetes leaves running pods alone when a ConfigMap changes: variables and files of a `subPath` stay as they were at
the start, and most programs read their files only then. So each workload carries a hash of the ConfigMaps and Secrets
of its manifests that it names: what changes them changes the workload, and that restarts it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from obol.rendering.kubernetes import dump
from obol.rendering.podman import CACHE_TARGETS
from obol.workloads.images import documents_of
from obol.workloads.sources import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ANNOTATION = "obol.config-hash"

_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_REFERENCES = {
    "configMap": "ConfigMap",
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "secret": "Secret",
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
}
"""By the key under which a pod names one: in volumes, projected ones too, and in the environment of containers."""
_READ_AGAIN = frozenset({CACHE_TARGETS})
"""Entries that the program itself reads again when they change."""

_Name = tuple[str, str, str]


def restarting(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The manifests, with the hash in each workload whose configuration is among them. Raises UsageError."""
    read = [documents_of(manifest) for manifest in manifests]
    held = dict(_held(one for documents in read for one in documents))
    found = []
    for manifest, documents in zip(manifests, read, strict=True):
        marked = [_marked(one, held) for one in documents]
        text = dump(one for one in documents if isinstance(one, dict)) if any(marked) else manifest.text
        found.append(Manifest(manifest.name, text))
    return tuple(found)


def _held(documents: Iterable[object]) -> Iterator[tuple[_Name, str]]:
    """Yield the content of each ConfigMap and Secret."""
    for document in documents:
        match document:
            case {"kind": "ConfigMap" | "Secret" as kind, "metadata": {"name": str(name), **about}, **rest}:
                content = {
                    part: {key: value for key, value in entries.items() if key not in _READ_AGAIN}
                    for part in ("data", "binaryData", "stringData")
                    if isinstance(entries := rest.get(part), dict)
                }
                text = json.dumps(content, sort_keys=True, default=str)
                yield (kind, _namespace(about), name), text


def _marked(document: object, held: Mapping[_Name, str]) -> bool:
    """Write the hash into a workload; False where there is nothing to write."""
    match document:
        case {"kind": str(kind), "metadata": dict(about), "spec": {"template": dict(template)}} if kind in _WORKLOADS:
            wanted = sorted({(of, _namespace(about), name) for of, name in _named(template.get("spec"))} & held.keys())
            if not wanted:
                return False
            metadata = template.get("metadata") or {}
            text = "\n".join(held[name] for name in wanted)
            annotations = {**(metadata.get("annotations") or {}), ANNOTATION: _hash(text)}
            template["metadata"] = {**metadata, "annotations": annotations}
            return True
    return False


def _named(node: object) -> Iterator[tuple[str, str]]:
    """Yield the kind and the name of what a pod takes its configuration from, wherever it says so."""
    match node:
        case dict():
            for key, value in node.items():
                name = _name(value) if key in _REFERENCES else None
                if name is not None:
                    yield _REFERENCES[key], name
                else:
                    yield from _named(value)
        case list():
            for value in node:
                yield from _named(value)


def _name(reference: object) -> str | None:
    match reference:
        case {"name": str(name)} | {"secretName": str(name)}:
            return name
    return None


def _namespace(about: Mapping[Any, Any]) -> str:
    return str(about.get("namespace") or "default")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
