"""What Docker's command line says, for a `FakeRunner`: only the parts that we read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes.runner import FakeRunner

Json = dict[str, Any]


def network(
    name: str,
    *,
    id_: str = "",
    labels: Mapping[str, str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
    attached: Mapping[str, str] | None = None,
) -> Json:
    """One network as `docker network inspect` has it; `attached` has names of containers by their IDs."""
    return {
        "Name": name,
        "Id": id_ or f"id-of-{name}",
        "Created": created,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}],
        },
        "Containers": {key: {"Name": value, "EndpointID": "e"} for key, value in (attached or {}).items()},
        "Options": {},
        "Labels": labels,
    }


def container(
    name: str,
    *,
    status: str = "running",
    image: str = "registry:3",
    labels: Mapping[str, str] | None = None,
    networks: Mapping[str, str] | None = None,
    port: int = 0,
    address: str = "127.0.0.1",
    environment: Sequence[str] = (),
    storage: str = "",
) -> Json:
    """One container as `docker container inspect` has it; `port` is where its port 5000 is published."""
    bindings = {"5000/tcp": [{"HostIp": address, "HostPort": str(port)}]} if port else None
    return {
        "Id": f"id-of-{name}",
        "Name": f"/{name}",
        "State": {"Status": status, "Running": status in {"running", "restarting"}},
        "Config": {"Image": image, "Labels": labels, "Env": list(environment) or None},
        "HostConfig": {"PortBindings": bindings},
        "NetworkSettings": {
            "Networks": {key: {"NetworkID": value} for key, value in (networks or {}).items()},
            "Ports": bindings if status == "running" else {},
        },
        "Mounts": [{"Source": storage, "Destination": "/var/lib/registry"}] if storage else [],
    }


def absent(runner: FakeRunner, kind: str, name: str) -> None:
    """There is no such thing, the next time it is looked at."""
    runner.script("docker", kind, "inspect", name, code=1, stdout="[]\n", stderr=f"Error: No such {kind}: {name}\n")


def there(runner: FakeRunner, kind: str, found: Json) -> None:
    """There is one, the next time it is looked at by its name."""
    runner.script("docker", kind, "inspect", found["Name"].removeprefix("/"), stdout=json.dumps([found]))


def all_networks(runner: FakeRunner, *found: Json) -> None:
    """These are there, the next time any are listed."""
    _listed(runner, ("network", "ls"), "network", found)


def all_containers(runner: FakeRunner, *found: Json) -> None:
    """These are there, the next time any are listed."""
    _listed(runner, ("ps",), "container", found)


def _listed(runner: FakeRunner, listing: tuple[str, ...], kind: str, found: Sequence[Json]) -> None:
    lines = "".join(json.dumps({"ID": one["Id"]}) + "\n" for one in found)
    runner.script("docker", *listing, stdout=lines)
    if found:
        runner.script("docker", kind, "inspect", *(one["Id"] for one in found), stdout=json.dumps(list(found)))
