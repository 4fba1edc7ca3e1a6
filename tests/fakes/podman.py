"""A `Runner` that is podman 4.3, as far as its command line is used: it keeps pods, images, secrets, volumes, networks.

An interruption can be planned for any call: before it is carried out, or right after.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from obol.machine.commands import Completed
from tests.fakes.runner import Ran


class Interruption(BaseException):
    """Somebody stopped us; no code that means well may catch it."""


OK = Completed(0, "", "")


def refused(message: str, code: int = 125) -> Completed:
    """A failure in podman's words."""
    return Completed(code, "", f"\x1b[33mtime=… level=warning\x1b[0m\nError: {message}\n")


@dataclass
class FakePod:
    """A pod."""

    name: str
    labels: dict[str, str]
    containers: dict[str, str]
    """Images by the names of containers."""
    ports: list[dict[str, int]]
    status: str = "Running"


@dataclass
class FakePodman:
    """One installation; `images` are here, `available` ones can be pulled."""

    version: str = "4.3.1"
    rootless: bool = False
    remote: bool = False
    available: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    pods: dict[str, FakePod] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    networks: dict[str, str] = field(default_factory=lambda: {"podman": ""})
    """Labels by name."""
    restarts: int = 0
    started: str = "2000-01-01T00:00:00.123456789Z"
    logs: str = ""
    refusing: dict[str, Completed] = field(default_factory=dict)
    """Answers to command lines that begin so, in place of the real ones."""
    bound: set[int] = field(default_factory=set)
    """Ports of the machine that somebody else has, whatever is told of them."""
    ran: list[Ran] = field(default_factory=list)
    interrupted_at: int | None = None
    interrupted_after: bool = False

    @property
    def lines(self) -> list[str]:
        """The command lines, without the program's name."""
        return [" ".join(ran.argv[1:]) for ran in self.ran]

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of the port
    ) -> Completed:
        assert argv[0] == "podman"
        number = len(self.ran)
        self.ran.append(Ran(tuple(argv), stdin, env, timeout))
        if number == self.interrupted_at and not self.interrupted_after:
            raise Interruption
        await asyncio.sleep(0)  # others have a turn, as while a real program runs
        line = " ".join(argv[1:])
        refusal = next((answer for start, answer in self.refusing.items() if line.startswith(start)), None)
        done = refusal or self._done(list(argv[1:]), stdin)
        if number == self.interrupted_at:
            raise Interruption
        return done

    def _done(self, arguments: list[str], stdin: str) -> Completed:
        match arguments[0]:
            case "info":
                return self._told({"host": self._host(), "version": {"Version": self.version}})
            case "image" | "pull" | "rmi":
                return self._images(arguments)
            case "secret" | "volume":
                return self._kept(arguments, stdin)
            case "network":
                return self._network(arguments[1:])
            case "pod":
                return self._pods(arguments[1:])
            case _:
                return self._containers(arguments)

    def _host(self) -> Mapping[str, object]:
        return {"security": {"rootless": self.rootless}, "serviceIsRemote": self.remote}

    @staticmethod
    def _told(value: object) -> Completed:
        return Completed(0, json.dumps(value), "")

    def _images(self, arguments: list[str]) -> Completed:
        match arguments:
            case ["image", "exists", image]:
                return Completed(int(image not in self.images), "", "")
            case ["pull", "--quiet", image] if image in self.available | self.images:
                self.images.add(image)
                return OK
            case ["pull", "--quiet", image]:
                return refused(f"initializing source docker://{image}: manifest unknown")
            case ["rmi", image]:
                return self._remove_image(image)
        raise AssertionError(f"podman is not used so: {arguments}")

    def _kept(self, arguments: list[str], stdin: str) -> Completed:
        match arguments:
            case ["secret", "create", name, "-"]:
                return self._create_secret(name, stdin)
            case ["secret" | "volume" as kind, "ls", "--format", "{{.Name}}"]:
                names = self.secrets if kind == "secret" else self.volumes
                return Completed(0, "".join(f"{name}\n" for name in sorted(names)), "")
            case ["secret", "rm", *names]:
                gone = [self.secrets.pop(name, None) for name in names]
                return OK if all(gone) else refused("no such secret", 1)
            case ["volume", "rm", *names]:
                self.volumes.difference_update(names)
                return OK
        raise AssertionError(f"podman is not used so: {arguments}")

    def _remove_image(self, image: str) -> Completed:
        if image not in self.images:
            return refused("image not known", 1)
        if any(image in pod.containers.values() for pod in self.pods.values()):
            return refused("image is in use by a container", 2)
        self.images.remove(image)
        return OK

    def _create_secret(self, name: str, stdin: str) -> Completed:
        if name in self.secrets:
            return refused("secret name in use")
        self.secrets[name] = stdin
        return OK

    def _network(self, arguments: list[str]) -> Completed:
        match arguments:
            case ["inspect", name]:
                found = [{"name": name, "subnets": [{"subnet": "10.89.1.0/24", "gateway": "10.89.1.1"}]}]
                return self._told(found) if name in self.networks else refused("network not found", 1)
            case ["create", "--label", label, name]:
                self.networks[name] = label
                return OK
            case ["ls", "--filter", label, "--format", "{{.Name}}"]:
                names = [name for name, own in self.networks.items() if f"label={own}" == label]
                return Completed(0, "\n".join(names), "")
            case ["rm", *names]:
                for name in names:
                    del self.networks[name]
                return OK
        raise AssertionError(f"podman is not used so: network {arguments}")

    def _pods(self, arguments: list[str]) -> Completed:
        match arguments:
            case ["ps", "--filter", label, "--format", "json"]:
                return self._told([self._pod(pod) for pod in self._labelled(label)])
            case ["start", identity]:
                self.pods[identity.removeprefix("id-")].status = "Running"
            case ["stop", "--time", _, *identities]:
                for identity in identities:
                    self.pods[identity.removeprefix("id-")].status = "Exited"
            case ["rm", "--force", "--time", _, *identities]:
                for identity in identities:
                    del self.pods[identity.removeprefix("id-")]
            case _:
                raise AssertionError(f"podman is not used so: pod {arguments}")
        return OK

    def _containers(self, arguments: list[str]) -> Completed:
        match arguments:
            case ["ps", "--all", "--filter", label, "--format", "json"]:
                return self._told([one for pod in self._labelled(label) for one in self._members(pod)])
            case ["kube", "play", "--network", network, path]:
                assert network in self.networks
                return self._play(path)
            case ["container", "inspect", *names]:
                life = {"RestartCount": self.restarts, "State": {"StartedAt": self.started}}
                return self._told([{**life, "Config": {"Env": ["SECRET=x"]}} for _ in names])
            case ["logs", "--tail", _, _]:
                return Completed(0, self.logs, "")
        raise AssertionError(f"podman is not used so: {arguments}")

    def _labelled(self, label: str) -> list[FakePod]:
        name, _, value = label.removeprefix("label=").partition("=")
        return [pod for pod in self.pods.values() if pod.labels.get(name) == value]

    @staticmethod
    def _pod(pod: FakePod) -> Mapping[str, object]:
        members = [{"Names": name, "Status": "running"} for name in (*pod.containers, "infra")]
        return {
            "Id": f"id-{pod.name}",
            "Name": pod.name,
            "Status": pod.status,
            "Labels": pod.labels,
            "Containers": members,
            "InfraId": "infra",
        }

    @staticmethod
    def _members(pod: FakePod) -> list[Mapping[str, object]]:
        state = pod.status.lower().replace("degraded", "running")
        return [
            {"Names": [name], "Image": image, "State": state, "Pod": f"id-{pod.name}", "Ports": pod.ports}
            for name, image in pod.containers.items()
        ]

    def _play(self, path: str) -> Completed:
        for document in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")):
            name = document["metadata"]["name"]
            if document["kind"] != "Pod":
                self.volumes.add(name)
                continue
            if name in self.pods:
                return refused(f"adding pod to state: name {name} is in use: pod already exists")
            self.pods[name] = self._created(name, document)
            if missing := set(self.pods[name].containers.values()) - self.images:
                return refused(f"{missing} would be pulled")
            if taken := self.bound & {int(port["host_port"]) for port in self.pods[name].ports}:
                self.pods[name].status = "Created"
                return refused(f"rootlessport listen tcp 127.0.0.1:{min(taken)}: bind: address already in use")
        return OK

    @staticmethod
    def _created(name: str, document: Any) -> FakePod:
        containers = document["spec"]["containers"]
        ports = [
            {"container_port": port["containerPort"], "host_port": port["hostPort"]}
            for container in containers
            for port in container.get("ports", ())
            if "hostPort" in port
        ]
        images = {f"{name}-{container['name']}": container["image"] for container in containers}
        return FakePod(name, document["metadata"]["labels"], images, ports)
