"""The stack's Kubernetes manifests in the shape that `podman kube play` takes.

Measured with podman 4.3, and valid for later ones:

- Documents of kind Secret are refused there: they become podman's own secrets, which the pods refer to.
- A probe becomes a `curl` within the image, and a healthy pod without curl is killed: probes are left out, and the
  readiness probe is asked from outside, on the published port.
- A mount with a subPath shows the whole volume: files of a ConfigMap that are mounted so are mounted from a directory.
- An emptyDir becomes a volume by the bare name that it has in the pod, so that two pods with `data` would share it.
- Services are not known: names of services in texts become names of pods.
- Nothing is scheduled, so requests for resources mean nothing; without delegated controllers they even fail.

A Deployment becomes one Pod, since the names that podman makes of a Deployment differ between versions. All names carry
the stack's id: names of pods with dashes, as a DNS label must be, all others with dots, so that no id begins another.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from obol.errors import UsageError
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.rendering import kubernetes
from obol.rendering.kubernetes import Key, KubernetesObjects, PodTemplate, Service, named_port
from obol.rendering.names import LOOPBACK, STACK_LABEL, stack_name

WORKLOAD_LABEL = "obol.workload"
DIGEST_LABEL = "obol.rendered"
CACHE_TARGETS = "caches.json"
"""The key of a ConfigMap in which Prometheus looks for the addresses of the registry caches."""

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOSTNAME = 63
"""Octets in a DNS label (RFC 1035, 2.3.4), and no more in a hostname of Linux."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a workload."""

    workload: str
    number: int


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """What to ask for to know that a pod is ready."""

    port: int
    """Of the container."""
    path: str


@dataclass(frozen=True, slots=True)
class MountedFile:
    """A file of this machine that a pod mounts."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as podman wants it."""

    name: str
    payload: str = field(repr=False)
    """JSON: keys, and values in base64."""


@dataclass(frozen=True, slots=True)
class PlayedPod:
    """One pod, ready to be played."""

    workload: str
    name: str
    text: str
    """YAML: the pod, and the ConfigMaps and claims that it names."""
    digest: str
    """Of all that it is made of; also in its label DIGEST_LABEL."""
    images: tuple[str, ...]
    containers: tuple[str, ...]
    """Names, as podman makes them; without those that initialise."""
    ports: Mapping[int, int]
    """Which port of this machine leads to which of the pod."""
    check: HttpCheck | None
    files: tuple[MountedFile, ...]
    volumes: tuple[str, ...]
    """Volumes with ConfigMaps, which podman adds to, but does not clear."""
    manifest: str
    """What the manifest is called that it is from."""


@dataclass(frozen=True, slots=True)
class Played:
    """A stack, ready to be played."""

    pods: tuple[PlayedPod, ...]
    secrets: tuple[Secret, ...]
    left_out: tuple[str, ...]
    """What podman has nothing for."""


@dataclass(frozen=True, slots=True)
class PodmanStack:
    """What a stack is rendered for."""

    stack_id: str
    folder: str
    """An absolute path: where mounted files are."""
    ports: Mapping[Port, int]
    """Ports of this machine for those of the workloads."""
    secrets: Mapping[Key, Mapping[str, str]] = field(repr=False)
    """Secrets that no manifest has, as plain text."""
    seal: str = field(repr=False)
    """Keys the digests, in which secrets could otherwise be guessed."""
    caches: tuple[str, ...] = ()
    """Where pods reach the registry caches, each host:port."""


def prefix(stack_id: str) -> str:
    """What the names of its secrets and volumes begin with."""
    return f"{stack_name(stack_id)}."


def ports_of(documents: KubernetesObjects) -> tuple[Port, ...]:
    """The TCP ports that workloads declare, each to be published."""
    return tuple(
        Port(workload.name, int(port["containerPort"]))
        for workload in _running(documents)
        for container in workload.spec.get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("protocol", "TCP") == "TCP"
    )


def render(documents: KubernetesObjects, around: PodmanStack) -> Played:
    """Shape all workloads. Raises UsageError for two of one name, and for an image that is not a reference."""
    workloads = list(_running(documents))
    names = [workload.name for workload in workloads]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"two workloads are called {twice}",
            why="podman has no namespaces that would keep them apart",
            hint="give one of them another name",
        )
    given = {
        key: {name: kubernetes.encode(value) for name, value in keys.items()} for key, keys in around.secrets.items()
    }
    secrets = {key: json.dumps(keys, sort_keys=True) for key, keys in {**given, **documents.secrets}.items()}
    left_out = [f"{workload.name}: it has no replicas" for workload in documents.workloads if workload.replicas < 1]
    left_out += [f"replicas of {workload.name} but one" for workload in workloads if workload.replicas > 1]
    pods, renamed = [], _pod_names(documents, around.stack_id)
    for workload in workloads:
        shaping = _Shaping(documents, around, workload, secrets, renamed)
        pods.append(shaping.pod())
        left_out += shaping.left_out
    stored = tuple(Secret(_scoped(around.stack_id, key), payload) for key, payload in secrets.items())
    return Played(tuple(pods), stored, (*documents.others, *left_out))


def images_of(text: str) -> frozenset[str]:
    """The images of what was rendered before. Raises UsageError for text that is not YAML."""
    return frozenset(
        str(container["image"])
        for workload in kubernetes.read([("of podman", text)]).workloads
        for kind in ("initContainers", "containers")
        for container in workload.spec.get(kind) or ()
    )


def _running(documents: KubernetesObjects) -> Iterator[PodTemplate]:
    return (workload for workload in documents.workloads if workload.replicas > 0)


def _scoped(stack_id: str, key: Key) -> str:
    return prefix(stack_id) + ".".join(key)


def pod_name(stack_id: str, workload: str) -> str:
    """What the pod of a workload is called; other pods reach it by that name."""
    return f"{stack_name(stack_id)}-{workload}-pod"


class _Shaping:
    """One workload on its way to a pod: what it names is gathered while its parts are rewritten."""

    def __init__(
        self,
        documents: KubernetesObjects,
        around: PodmanStack,
        workload: PodTemplate,
        secrets: Mapping[Key, str],
        renamed: Callable[[str], str],
    ) -> None:
        self._documents = documents
        self._around = around
        self._workload = workload
        self._secrets = secrets
        self._renamed = renamed
        self._config_maps: dict[Key, None] = {}
        self._claims: dict[Key, None] = {}
        self._used: dict[Key, None] = {}
        self._files: dict[str, MountedFile] = {}
        self.left_out: list[str] = []

    def pod(self) -> PlayedPod:
        """Shape it."""
        workload, spec = self._workload, copy.deepcopy(dict(self._workload.spec))
        main = list(spec.get("containers") or ())
        containers = [*(spec.get("initContainers") or ()), *main]
        check = next(filter(None, map(_check, main)), None)
        images = tuple(dict.fromkeys(map(self._container, containers)))
        if volumes := self._volumes(containers, spec.pop("volumes", None) or ()):
            spec["volumes"] = volumes
        spec = kubernetes.mapped({"hostname": workload.name[:_HOSTNAME], **spec}, self._renamed)
        attached = self._attached()
        labels = {**workload.labels, STACK_LABEL: self._around.stack_id, WORKLOAD_LABEL: workload.name}
        digest = self._digest(kubernetes.dump([*attached, {"labels": labels, "spec": spec}]))
        name = pod_name(self._around.stack_id, workload.name)
        metadata = {"name": name, "labels": {**labels, DIGEST_LABEL: digest}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        return PlayedPod(
            workload.name,
            name,
            kubernetes.dump([*attached, pod]),
            digest,
            images,
            tuple(f"{name}-{container['name']}" for container in main),
            {port.number: here for port, here in self._around.ports.items() if port.workload == workload.name},
            check,
            tuple(self._files.values()),
            tuple(map(self._scoped, self._config_maps)),
            workload.manifest,
        )

    def _container(self, container: dict[str, Any]) -> str:
        """Rewrite what stands in a container but for its mounts; answers with its image."""
        for probe in _PROBES:
            container.pop(probe, None)
        container["image"] = _reference(container.get("image"), self._workload.name)
        container["imagePullPolicy"] = "IfNotPresent"
        if isinstance(resources := container.get("resources"), dict):
            resources.pop("requests", None)
        for port in container.get("ports") or ():
            port.pop("hostPort", None)
            here = self._around.ports.get(Port(self._workload.name, int(port["containerPort"])))
            if here is not None and port.get("protocol", "TCP") == "TCP":
                port |= {"hostPort": here, "hostIP": LOOPBACK}
        for source in _sources(container):
            for kind in ("secretKeyRef", "secretRef", "configMapKeyRef", "configMapRef"):
                if isinstance(reference := source.get(kind), dict):
                    gathered = self._used if kind.startswith("secret") else self._config_maps
                    reference["name"] = self._gather(gathered, reference["name"])
        return str(container["image"])

    def _volumes(self, containers: list[dict[str, Any]], declared: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rewrite mounts, and the volumes that are still mounted then."""
        volumes = {str(volume["name"]): volume for volume in declared}
        mounted: dict[str, dict[str, Any]] = {}
        for mount in (mount for container in containers for mount in container.get("volumeMounts") or ()):
            name = str(mount["name"])
            volume, path = volumes.get(name, {"name": name}), mount.get("subPath")
            if path and isinstance(volume.get("configMap"), dict):
                del mount["subPath"]
                volume = self._file(volume, str(path))
            elif path:
                self.left_out.append(f"the subPath {path} of volume {name} in {self._workload.name}")
            if volume["name"] not in mounted:
                mounted[volume["name"]] = self._volume(volume)
            mount["name"] = mounted[volume["name"]]["name"]
        return list(mounted.values())

    def _file(self, volume: Mapping[str, Any], path: str) -> dict[str, Any]:
        """A volume that is one file of a ConfigMap, on this machine."""
        source = volume["configMap"]
        items = {str(item["path"]): str(item["key"]) for item in source.get("items") or ()}
        text = self._data((self._workload.namespace, str(source["name"]))).get(items.get(path, path), "")
        name = f"{volume['name']}-{re.sub('[^a-z0-9]+', '-', path.lower()).strip('-')}"
        here = f"{self._around.folder}/{self._workload.name}/{name}"
        self._files[name] = MountedFile(here, text)
        return {"name": name, "hostPath": {"path": here, "type": "File"}}

    def _volume(self, volume: Mapping[str, Any]) -> dict[str, Any]:
        if "emptyDir" in volume:
            name = f"{prefix(self._around.stack_id)}{self._workload.name}.{volume['name']}"
            return {"name": name, "emptyDir": {}}
        changed = copy.deepcopy(dict(volume))
        for kind, field_name, gathered in (
            ("configMap", "name", self._config_maps),
            ("secret", "secretName", self._used),
            ("persistentVolumeClaim", "claimName", self._claims),
        ):
            if isinstance(source := changed.get(kind), dict):
                source[field_name] = self._gather(gathered, source[field_name])
        return changed

    def _gather(self, into: dict[Key, None], name: str) -> str:
        key = (self._workload.namespace, str(name))
        into[key] = None
        return self._scoped(key)

    def _scoped(self, key: Key) -> str:
        return _scoped(self._around.stack_id, key)

    def _attached(self) -> list[dict[str, Any]]:
        """The ConfigMaps and claims that the pod names, under their new names."""
        known = self._documents
        maps = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self._scoped(key)}, "data": self._data(key)}
            for key in self._config_maps
            if key in known.config_maps
        ]
        claims = [(self._scoped(key), known.claims[key]) for key in self._claims if key in known.claims]
        return [*maps, *({**claim, "metadata": {"name": name}} for name, claim in claims)]

    def _data(self, key: Key) -> dict[str, str]:
        data = dict(self._documents.config_maps.get(key, {}).get("data") or {})
        if CACHE_TARGETS in data and self._around.caches:
            data[CACHE_TARGETS] = json.dumps([{"targets": list(self._around.caches)}])
        changed: dict[str, str] = kubernetes.mapped(data, self._renamed)
        return changed

    def _digest(self, text: str) -> str:
        files = [f"{file.path}\n{file.text}" for file in self._files.values()]
        payloads = [self._secrets.get(key, "") for key in self._used]
        whole = "\0".join([text, *files, *payloads])
        return hmac.new(self._around.seal.encode(), whole.encode(), hashlib.sha256).hexdigest()[:32]


def _sources(container: Mapping[str, Any]) -> list[Any]:
    """From where a container takes its variables."""
    values = [variable.get("valueFrom") or {} for variable in container.get("env") or ()]
    return [*values, *(container.get("envFrom") or ())]


def _check(container: Mapping[str, Any]) -> HttpCheck | None:
    get = (container.get("readinessProbe") or {}).get("httpGet") or {}
    port = named_port(container, get.get("port", ""))
    return HttpCheck(port, str(get.get("path", "/"))) if port is not None else None


def _reference(image: object, workload: str) -> str:
    """An image by its full name: podman's own ideas of short names are settings of the machine."""
    try:
        return str(ImageReference.parse(str(image)))
    except OciError as problem:
        raise UsageError(
            f"an image of {workload} is not a reference",
            why=problem.detail or str(image),
            hint="mend the manifest, or leave it out",
        ) from problem


def _pod_names(documents: KubernetesObjects, stack_id: str) -> Callable[[str], str]:
    """Replaces names of services, as they are written in full, by names of pods."""
    hosts: dict[str, tuple[Service, PodTemplate]] = {}
    for service in documents.services:
        if target := next(filter(service.selects, _running(documents)), None):
            hosts[f"{service.name}.{service.namespace}"] = (service, target)
    if not hosts:
        return lambda text: text
    names = "|".join(map(re.escape, hosts))
    pattern = re.compile(rf"(?<![\w.-])({names})\.svc(?:\.cluster\.local)?(?![\w-])(?::(\d+))?")

    def renamed(match: re.Match[str]) -> str:
        service, target = hosts[match[1]]
        name = pod_name(stack_id, target.name)
        return f"{name}:{_behind(service, target, int(match[2]))}" if match[2] else name

    return lambda text: pattern.sub(renamed, text)


def _behind(service: Service, workload: PodTemplate, port: int) -> int:
    """The port of the pod behind one of the service."""
    wanted = service.ports.get(port, port)
    numbers = (named_port(container, wanted) for container in workload.spec.get("containers") or ())
    return next((number for number in numbers if number is not None), port)
