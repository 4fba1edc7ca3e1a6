"""What is done with manifests on a cluster of any kind: apply, wait, find the gateway.

Kubernetes leaves running pods alone when a ConfigMap changes: variables and files of a `subPath` stay as they were at
the start, and most programs read their files only then. So each workload carries a hash of the ConfigMaps and Secrets
of its manifests that it names: what changes them changes the workload, and that restarts it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obol.backends import masterkey
from obol.backends.kubernetes.api import last_status
from obol.backends.kubernetes.kubectl import secret
from obol.backends.kubernetes.rollouts import Deployment, applied
from obol.backends.ports import Deployed
from obol.rendering.k3d import HTTP
from obol.rendering.kubernetes import dump, encode
from obol.rendering.podman import CACHE_TARGETS
from obol.rendering.registries import local_registry_hosting
from obol.workloads.images import documents_of
from obol.workloads.sources import ManifestFile

if TYPE_CHECKING:
    from obol.backends.kubernetes.kubectl import Kubectl
    from obol.backends.ports import Step, Watch
    from obol.machine.clock import Clock
    from obol.machine.probe import Probe
    from obol.rendering.registries import Mirror


GATEWAY = Deployment("llm", "litellm")
GATEWAY_PATH = "/health/readiness"
_READY = frozenset({200})


async def deploy(kubectl: Kubectl, config: Path, manifests: Sequence[ManifestFile], watch: Watch) -> None:
    """Bring manifests to the cluster, and wait until their Deployments are ready.

    Namespaces come first, because what is in them may be in an earlier file; then the gateway's key, which is made if
    `config`, the directory of the stack, has none. Raises ObolError, UsageError; the cluster is left as it is.
    """
    brought = applied(manifests)
    for namespace in brought.namespaces:
        await kubectl.apply("a namespace", namespace)
    if masterkey.NAMESPACE in brought.namespace_names:
        key = await asyncio.to_thread(masterkey.master_key, config)
        text = secret(masterkey.NAMESPACE, masterkey.SECRET, {masterkey.ENTRY: key})
        await kubectl.apply("the key of the gateway", text, hidden=(key, encode(key)))
    for manifest in restarting(manifests):
        watch(f"applying {manifest.name}")
        await kubectl.apply(manifest.name, manifest.text)
    await kubectl.wait(brought.deployments, watch)


async def announce(kubectl: Kubectl, mirrors: Sequence[Mirror]) -> None:
    """Tell tools that work with the cluster of the registry to push into, where there is one. Raises ObolError."""
    for mirror in mirrors:
        if mirror.takes_pushes:
            text = local_registry_hosting(mirror.registry)
            await kubectl.apply("the ConfigMap that tells of the registry to push into", text)


def ingress_url(port: int) -> str:
    """Where the ingress answers whose port of this machine it is."""
    return "http://localhost" if port == HTTP else f"http://localhost:{port}"


async def gateway(
    kubectl: Kubectl, manifests: Sequence[ManifestFile], port: int | None, probe: Probe, step: Step
) -> Deployed:
    """Wait until the gateway answers by the ingress, which comes up by itself, and later than what it leads to.

    `port` is the one of this machine that leads to the ingress. An ingress that does not come is a note: the workloads
    are there. Without a gateway among the manifests there is no address to tell.
    """
    brought = applied(manifests)
    if GATEWAY not in brought.deployments or GATEWAY.name not in brought.ingresses or port is None:
        return Deployed("")
    look = f"look with `{kubectl.shown} -n kube-system get pods`"
    return await wait_for_gateway(
        ingress_url(port), lambda: probe(port, GATEWAY_PATH), kubectl.clock, step, what="the ingress", advice=look
    )


async def wait_for_gateway(
    url: str, ask: Callable[[], Awaitable[int | None]], clock: Clock, step: Step, *, what: str, advice: str
) -> Deployed:
    """Wait until the gateway at `url` is ready, which `ask` tells.

    `what` does not answer, and `advice` is what to do about it, in the note where it does not come.
    """
    step(f"waiting for {url}")
    status = await last_status(ask, _READY, clock)
    if status not in _READY:
        said = f"says {status} there" if status else "does not answer there"
        step.note(f"LiteLLM is ready, but {what} {said} yet: {advice}.")
    return Deployed(url)


def scraping(manifests: Sequence[ManifestFile], mirrors: Sequence[Mirror]) -> tuple[ManifestFile, ...]:
    """The manifests with the addresses of the registry caches where Prometheus looks for them.

    Mirrors on one host are one process, which counts for all of them; a cache in a container has no figures on the port
    that nodes use.
    """
    hosts: dict[str, str] = {}
    for mirror in mirrors:
        endpoint = urlsplit(mirror.endpoint)
        if not (endpoint.hostname or "").endswith(".localhost"):
            hosts.setdefault(endpoint.hostname or "", endpoint.netloc)
    targets = json.dumps([{"targets": [*hosts.values()]}])
    return tuple(_with_targets(manifest, targets) for manifest in manifests) if hosts else tuple(manifests)


def _with_targets(manifest: ManifestFile, targets: str) -> ManifestFile:
    changed, documents = False, []
    for document in documents_of(manifest):
        match document:
            case {"kind": "ConfigMap", "data": dict(data)} if CACHE_TARGETS in data:
                data[CACHE_TARGETS] = targets
                changed = True
        if isinstance(document, dict):
            documents.append(document)
    return ManifestFile(manifest.name, dump(documents)) if changed else manifest


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


def restarting(manifests: Sequence[ManifestFile]) -> tuple[ManifestFile, ...]:
    """The manifests, with the hash in each workload whose configuration is among them. Raises UsageError."""
    read = [documents_of(manifest) for manifest in manifests]
    held = dict(_held(one for documents in read for one in documents))
    found = []
    for manifest, documents in zip(manifests, read, strict=True):
        marked = [_marked(one, held) for one in documents]
        text = dump(one for one in documents if isinstance(one, dict)) if any(marked) else manifest.text
        found.append(ManifestFile(manifest.name, text))
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
