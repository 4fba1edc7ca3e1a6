import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from obol.backends.ports import BackendName, Details, Node, Workload
from obol.caches.builtin.process import Running
from obol.caches.containers.engine import ContainerSeen
from obol.caches.containers.plan import RegistryContainer, push_registry
from obol.caches.reachable import Substitute
from obol.caches.warming import Held
from obol.cli.results.stack import GainResult, LastUpResult
from obol.cli.stack.view import status_code, status_parts, status_result
from obol.cli.terminal.present import Table
from obol.registry.control.api import Listener
from obol.stack.home import Home, Identity, LastUp
from obol.stack.outcomes import StackStatus
from obol.stack.plan import Gain
from obol.stack.space import SpaceOnDisk
from obol.workloads.images import StackImage
from tests.unit.stack.world import LITELLM, PAUSE, engine_status

OTTER = Identity("brave-otter", "podman")
HOME = Home(Path("/config"))
DISK = SpaceOnDisk("/caches", 2**30, None, "/data", data_there=False)


def text(parts: Sequence[object]) -> str:
    """The lines."""
    return "\n".join(part for part in parts if isinstance(part, str))


def texts(parts: Sequence[str | Table]) -> list[str]:
    """The parts that are no tables."""
    return [part for part in parts if isinstance(part, str)]


def test_status_of_nothing() -> None:
    """Without running caches it is said that nobody knows what they hold."""
    seen = StackStatus(None, "absent", images=((LITELLM, None), (PAUSE, None)))

    assert status_parts(HOME, seen, replace(DISK, data_there=True)) == [
        "Cluster  nothing runs (backend none)",
        "Caches   not running",
        "Images   2 needed; which are held is not known",
        "Disk     1.0 GiB in /caches",
        "Data     /data",
    ]
    told = status_result(HOME, seen, DISK)
    assert (told.images_complete, told.engine) == (None, None)


def test_status() -> None:
    """With running caches each image is complete, or not."""
    held: tuple[tuple[StackImage, Held], ...] = ((LITELLM, "incomplete"), (PAUSE, "complete"))
    seen = StackStatus(None, "absent", caches=Running(engine_status()), images=held)

    parts = status_parts(HOME, seen, DISK)

    assert texts(parts)[1:3] == ["Caches   running (process 4711)", "Images   1 of 2 complete"]
    images = parts[-1]
    assert isinstance(images, Table)
    assert images.rows == (
        ("litellm-non_root:main-v1.83.14-stable", "incomplete", "litellm"),
        ("mirrored-pause:3.6", "complete", "k3s v1.35.5+k3s1"),
    )
    assert [row.held for row in status_result(HOME, seen, DISK).images] == ["incomplete", "complete"]


def test_status_of_a_stack() -> None:
    """It shows the cluster's state, the last `up`, and that no caches run."""
    shown = StackStatus(
        OTTER, "stopped", LastUp(1_700_000_000.0, 61.25, (), Gain(2**20, 0, 90.0), {"docker.io": "http://g:1"})
    )

    told = text(status_parts(HOME, shown, DISK))

    assert "stopped (backend podman)" in told
    assert "in 1 min 1 s\n         1.0 MiB from the cache, 0 B from upstream, about 1 min 30 s saved" in told
    assert "Wired    docker.io by http://g:1" in told
    assert "Caches   not running" in told
    assert status_result(HOME, shown, DISK).last_up == LastUpResult(
        1_700_000_000.0, 61.2, GainResult(True, 2**20, 0, 90.0)
    )


def test_status_after_an_unmeasured_up() -> None:
    """What was not measured is not told as zero."""
    shown = StackStatus(OTTER, "running", LastUp(1_700_000_000.0, 5.0, ()))

    assert "from the cache" not in text(status_parts(HOME, shown, DISK))
    last = status_result(HOME, shown, DISK).last_up
    assert last is not None
    assert last.gain == GainResult(measured=False)


def test_containers() -> None:
    """Containers that are there are shown with their state, and one that runs is what serves."""
    cache = RegistryContainer("docker.io", "https://registry-1.docker.io", 54100)
    seen = (ContainerSeen(cache, "running", 54100), ContainerSeen(replace(cache, registry="quay.io"), "stopped"))
    shown = StackStatus(OTTER, "running", containers=seen)

    told = status_result(HOME, shown, DISK)

    assert f"Cache    {cache.name} (running)" in text(status_parts(HOME, shown, DISK))
    assert told.cache_engine == "containers"
    assert [(one.registry, one.state, one.port) for one in told.containers] == [
        ("docker.io", "running", 54100),
        ("quay.io", "stopped", None),
    ]
    assert status_result(HOME, replace(shown, containers=seen[1:]), DISK).cache_engine is None


def test_where_the_gateway_answers() -> None:
    """Status says where LiteLLM answers, how to get its key, and which file its models are in."""
    details = Details(workloads=(Workload("litellm", 1, 1, url="http://localhost:8080"),))
    shown = StackStatus(OTTER, "running", details=details)

    told = text(status_parts(HOME, shown, DISK))

    assert "LiteLLM  http://localhost:8080 (its key: `obol stack key`)" in told
    assert "Models   /config/workloads/litellm.yaml\n         `obol stack up` applies what" in told
    gateway = status_result(HOME, shown, DISK).gateway
    assert gateway is not None
    assert gateway.api_base == "http://localhost:8080/v1"


def test_a_page() -> None:
    """Nodes, workloads and registries have a table each, and everything fits 80 columns."""
    details = Details(
        (Node("k3d-obol-stack-brave-otter-server-0", "server", True), Node("b", "agent", False)),
        (Workload("litellm", 1, 1, url="http://localhost:8080"), Workload("prometheus", 0, 1, "ErrImagePull")),
    )
    engine = engine_status()
    listeners = (*engine.listeners, Listener("docker.io", "172.30.0.1", 54100), Listener("docker.io", "::1", 54100))
    substitutes = (Substitute("docker.io", 54100, 54110, "nginx"),)
    running = Running(structs.replace(engine, listeners=listeners), substitutes)
    last = LastUp(1_700_000_000.0, 5.0, (), mirrors={"docker.io": "http://172.30.0.1:54100", "quay.io": "http://x:1"})
    shown = StackStatus(replace(OTTER, backend="k3d"), "running", last, details=details)

    parts = status_parts(HOME, replace(shown, caches=running), DISK)

    nodes, workloads, registries = (part for part in parts if isinstance(part, Table))
    assert nodes.rows[1] == ("b", "agent", "stopped")
    assert workloads.rows == (
        ("litellm", "1 of 1", "http://localhost:8080"),
        ("prometheus", "0 of 1", "(ErrImagePull)"),
    )
    assert registries.titles[-2:] == (">Sent from cache", ">Fetched")
    assert registries.rows[0][1] == "127.0.0.1:54100, 172.30.0.1:54100, [::1]:54100"
    assert [part for part in parts if str(part).startswith("Port")] == [
        "Port     docker.io on 54110 (54100 is taken by nginx)"
    ]
    assert "Disk     1.0 GiB in /caches" in text(parts)
    assert "Data     /data (not there yet)" in text(parts)
    assert "Wired    quay.io by http://x:1, which is not ours" in text(parts)
    assert "Wired    docker.io" not in text(parts)
    assert max(len(line) for line in text(parts).splitlines()) <= 80


@pytest.mark.parametrize(("backend", "told"), [("podman", True), ("k3d", False)])
def test_an_address_for_figures(backend: BackendName, told: bool) -> None:
    """On podman an address that only one registry is served at is told of by what it is for, not among the others."""
    engine = engine_status()
    asked = (*engine.listeners, Listener("docker.io", "10.89.0.1", 54100))
    shown = StackStatus(
        replace(OTTER, backend=backend), "running", caches=Running(structs.replace(engine, listeners=asked))
    )

    parts = status_parts(HOME, shown, DISK)

    registries = next(part for part in parts if isinstance(part, Table))
    assert ("10.89.0.1" in str(registries.rows)) != told
    assert (parts[-1] == "At 10.89.0.1:54100 Prometheus asks the caches for their figures.") == told


def test_an_up_that_has_not_come_to_its_end() -> None:
    """The latest `up` is told of beside the one that came to its end."""
    shown = StackStatus(OTTER, "running", LastUp(5.0, 5.0, ()), 1_700_000_000.0)

    _stack, _cluster, last, latest, *_rest = status_parts(HOME, shown, DISK)

    assert str(last).startswith("Last up  1970-01-01 ")
    assert re.fullmatch(r"Last try 2023-11-1\d \d\d:\d\d, which has not come to its end", str(latest))


def test_not_known() -> None:
    """A cluster that could not be asked is neither running nor absent, and programs are told why."""
    shown = StackStatus(OTTER, "unknown", trouble="podman is not installed")

    assert "Cluster  not known (backend podman)" in text(status_parts(HOME, shown, DISK))
    assert status_result(HOME, shown, DISK).trouble == "podman is not installed"
    assert status_result(HOME, shown, DISK).cluster == "unknown"


def test_room_that_is_not_known() -> None:
    """What cannot be counted is not told as nothing."""
    told = text(status_parts(HOME, StackStatus(OTTER, "absent"), SpaceOnDisk("/c", None, 2**30, "/d", data_there=True)))

    assert "Disk     an unknown amount in /c, 1.0 GiB free" in told


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        (StackStatus(OTTER, "absent"), 4),
        (StackStatus(OTTER, "stopped"), 4),
        (StackStatus(OTTER, "unknown", trouble="no answer"), 1),
        (StackStatus(OTTER, "running"), 0),
        (StackStatus(OTTER, "running", trouble="no answer"), 1),
        (StackStatus(OTTER, "running", details=Details(workloads=(Workload("litellm", 1, 1),))), 0),
        (StackStatus(OTTER, "running", details=Details(workloads=(Workload("litellm", 0, 1),))), 1),
        (StackStatus(OTTER, "running", details=Details((Node("n", "agent", running=False),))), 1),
    ],
)
def test_the_exit_code(shown: StackStatus, code: int) -> None:
    """What runs whole is 0, what does not run is 4, and all between is 1."""
    assert status_code(shown) == code


def test_a_registry_to_push_to_is_ours() -> None:
    """What nodes ask at a container that is listed is not said to be somebody else's."""
    push = ContainerSeen(push_registry(), "running", 40003)
    at = "http://k3d-obol-local.localhost:5000"
    last = LastUp(1_700_000_000.0, 5.0, (), mirrors={"localhost:40003": at, "quay.io": "http://x:1"})
    shown = StackStatus(replace(OTTER, backend="k3d"), "running", last, containers=(push,))

    for caches in (Running(engine_status()), None):
        lines = texts(status_parts(HOME, replace(shown, caches=caches), DISK))
        assert "Cache    k3d-obol-local.localhost (running, on 40003, not 54103)" in lines
        assert [line for line in lines if line.startswith("Wired")] == [
            "Wired    quay.io by http://x:1, which is not ours"
        ]
