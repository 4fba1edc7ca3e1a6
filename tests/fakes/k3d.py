"""Docker, k3d and kubectl as one machine with a memory, behind the `Runner` port; it can stop anybody at any call."""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from obol.machine.commands import Completed
from obol.rendering.k3d import node_archive
from tests.fakes.runner import FakeRunner

TOKEN = "gEhEiMnIs"
"""What must never be seen: the token of a cluster."""

API = "127.0.0.1:41234"
KUBECONFIG = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0VSVElGSUNBVEU=
    server: https://127.0.0.1:41234
  name: k3d-it
"""

DONE = Completed(0, "", "")


class Killed(BaseException):
    """Nothing catches it, as nothing survives a kill -9."""


@dataclass
class FakeCluster:
    """One cluster of k3d."""

    whole: bool = True
    """It was made to its end."""
    servers: bool = True
    balancer: bool = True
    """Whether they run."""
    registries: str = ""
    ports: list[str] = field(default_factory=list)
    api_port: str = API
    network: str = "obol-net"


def failed(text: str) -> Completed:
    """An exit code of 1 with a text."""
    return Completed(1, "", text)


@dataclass
class FakeMachine(FakeRunner):
    """What was scripted comes first; everything else changes, or reads, what is there."""

    clusters: dict[str, FakeCluster] = field(default_factory=dict)
    networks: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    reachable: set[str] = field(default_factory=set)
    """Where images can be pulled from: the beginnings of their names."""
    volumes: set[str] = field(default_factory=set)
    bound: set[int] = field(default_factory=set)
    """Ports of this machine that somebody else has, whatever is told of them."""
    port_taken: str = "Bind for 127.0.0.1:{port} failed: port is already allocated"
    """How Docker says that one is."""
    applied: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Documents, by kind and name."""
    kill_at: int = -1
    """The number of the call at which whoever called is killed."""
    kill_when: str = ""
    """before the program was started, during its work, or after it."""

    def _unscripted(self, argv: tuple[str, ...], stdin: str) -> Completed:
        dies = len(self.ran) - 1 == self.kill_at
        if dies and self.kill_when == "before":
            raise Killed
        done = self._program(argv, stdin, half=dies and self.kill_when == "during")
        if dies:
            raise Killed
        return done

    def _program(self, argv: tuple[str, ...], stdin: str, *, half: bool) -> Completed:
        match argv:
            case ("k3d", "version", *_):
                return Completed(0, '{"k3d":"v5.9.0","k3s":"v1.35.5-k3s1"}', "")
            case ("k3d", "cluster", "list", *_):
                return Completed(0, json.dumps([self._listed(*one) for one in self.clusters.items()]), "")
            case ("k3d", "kubeconfig", "get", name):
                return self._kubeconfig(name)
            case ("k3d", "cluster", verb, name, *options):
                return self._cluster(verb, name, options, half=half)
            case ("docker", "exec", "-i", _, "kubectl", *rest) | ("kubectl", *rest):
                return self._kubectl(rest, stdin)
            case ("docker", verb, *rest):
                return self._docker(verb, rest, stdin)
            case _:
                raise AssertionError(argv)

    def _kubeconfig(self, name: str) -> Completed:
        if (cluster := self.clusters.get(name)) is None:
            return failed("FATA[0000] No nodes found for given cluster")
        return Completed(0, KUBECONFIG.replace(API, cluster.api_port), "")

    def _listed(self, name: str, cluster: FakeCluster) -> dict[str, Any]:
        ports: dict[str, list[dict[str, str]]] = {}
        for mapping in (f"{cluster.api_port}:6443", *cluster.ports):
            address, host, inner = mapping.partition("@")[0].split(":")
            ports.setdefault(f"{inner}/tcp", []).append({"HostIp": address, "HostPort": host})
        server = {"name": f"k3d-{name}-server-0", "role": "server", "State": {"Running": cluster.servers}}
        balancer = {
            "name": f"k3d-{name}-serverlb",
            "role": "loadbalancer",
            "portMappings": ports,
            "State": {"Running": cluster.balancer},
        }
        return {
            "name": name,
            "network": {"name": cluster.network},
            "nodes": [{**server, "env": [f"K3S_TOKEN={TOKEN}"]}, *([balancer] if cluster.whole else [])],
            "serversRunning": int(cluster.servers),
            "serversCount": 1,
        }

    def _cluster(self, verb: str, name: str, options: Sequence[str], *, half: bool) -> Completed:
        cluster = self.clusters.get(name)
        if verb == "create":
            return self._create(name, options, half=half)
        if verb == "delete":
            self.clusters.pop(name, None)
            if not half:
                self.volumes.discard(f"k3d-{name}-images")
            return DONE
        if cluster is None:
            return failed("FATA[0000] No nodes found for given cluster")
        if verb == "start" and (refusal := self._ports_refused([cluster.api_port, *cluster.ports], but=name)):
            cluster.servers = True
            return refusal
        cluster.servers = verb == "start"
        if not half:
            cluster.balancer = verb == "start"
        return DONE

    def _create(self, name: str, options: Sequence[str], *, half: bool) -> Completed:
        if name in self.clusters:
            return failed("FATA[0000] Failed to create cluster 'x' because a cluster with that name already exists")
        self.volumes.add(f"k3d-{name}-images")
        pairs = list(pairwise(options))
        if refusal := self._ports_refused([value for flag, value in pairs if flag in {"--port", "--api-port"}]):
            self.volumes.discard(f"k3d-{name}-images")  # k3d takes everything back by itself
            return refusal
        ports = [value for flag, value in pairs if flag == "--port"]
        files = [value for flag, value in pairs if flag == "--registry-config"]
        registries = "" if half or not files else Path(files[0]).read_text(encoding="utf-8")
        (api_port,) = (value for flag, value in pairs if flag == "--api-port")
        (network,) = (value for flag, value in pairs if flag == "--network")
        self.clusters[name] = FakeCluster(not half, not half, not half, registries, ports, api_port, network)
        return DONE

    def _ports_refused(self, mappings: Sequence[str], but: str = "") -> Completed | None:
        """What k3d says where Docker cannot bind one of the ports; clusters that run hold theirs."""
        others = [one for name, one in self.clusters.items() if name != but and one.balancer]
        held = self.bound.union(*(_host_ports([one.api_port, *one.ports]) for one in others))
        for port in sorted(_host_ports(mappings) & held):
            said = self.port_taken.format(port=port)
            return failed(
                f"ERRO[0003] Failed Cluster Start: Failed to add one or more helper nodes: {said}\n"
                "ERRO[0003] Failed to create cluster >>> Rolling Back\n"
                "FATA[0004] Cluster creation FAILED, all changes have been rolled back!"
            )
        return None

    def _docker(self, verb: str, rest: Sequence[str], stdin: str) -> Completed:
        match verb, *rest:
            case "version", *_:
                return Completed(0, '{"Client":{"Version":"27.3.1"},"Server":{"Version":"27.3.1"}}', "")
            case "cp", "-", where:
                self._node(where).registries = _unpacked(stdin)
            case "cp", where, "-":
                text = self._node(where).registries
                return Completed(0, node_archive(text), "") if text else failed("Error: Could not find the file")
            case "volume", "ls", *_:
                return Completed(0, "\n".join(self.volumes), "")
            case "volume", "rm", "--force", *names:
                self.volumes -= set(names)
            case _:
                return self._image(verb, rest)
        return DONE

    def _image(self, verb: str, rest: Sequence[str]) -> Completed:
        match verb, *rest:
            case "image", "inspect", *_, name:
                return DONE if name in self.images else failed("Error response from daemon: No such image")
            case "pull", "--quiet", name:
                if not name.startswith(tuple(self.reachable)):
                    return failed("Error response from daemon: dial tcp: connection refused")
                self.images.add(name)
            case "tag", old, new:
                self.images |= {new} if old in self.images else set()
            case "rmi", name:
                self.images.discard(name)
        return DONE

    def _node(self, where: str) -> FakeCluster:
        return self.clusters[where.partition(":")[0].removeprefix("k3d-").removesuffix("-server-0")]

    def _kubectl(self, rest: Sequence[str], stdin: str) -> Completed:
        if rest[0] == "apply":
            for document in yaml.safe_load_all(stdin):
                self.applied[document["kind"], document["metadata"]["name"]] = document
        items = [
            {
                "kind": "Deployment",
                "metadata": {**document["metadata"], "generation": 1},
                "spec": document["spec"],
                "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            }
            for (kind, _), document in self.applied.items()
            if kind == "Deployment"
        ]
        return Completed(0, json.dumps({"items": items}) if rest[0] == "get" else "", "")


def _host_ports(mappings: Sequence[str]) -> set[int]:
    """The ports of this machine in address:port, or address:port:inner@filter."""
    return {int(mapping.partition("@")[0].split(":")[1]) for mapping in mappings}


def _unpacked(archive: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(archive.encode())) as unpacked:
        (member,) = unpacked.getmembers()
        assert member.name == "rancher/k3s/registries.yaml"
        file = unpacked.extractfile(member)
        assert file is not None
        return file.read().decode()
