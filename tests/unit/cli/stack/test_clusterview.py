from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from obol.backends.ports import Deployed, Details, Node, Up, Workload
from obol.caches.containers.engine import ContainerSeen
from obol.caches.containers.plan import CacheContainer, push_registry
from obol.caches.ports import Running, Started, Substitute
from obol.cli.results.stack import GainResult, Gateway, LastUpResult, RegistryGain
from obol.cli.stack.clusterview import raised_parts, raised_result, shown_code, shown_parts, shown_result
from obol.cli.terminal.present import Table
from obol.registry.control.api import Listener
from obol.rendering.registries import Mirror
from obol.stack.home import Home, Identity, LastUp
from obol.stack.lifecycle import Raised, Shown
from obol.stack.nocluster import Seen
from obol.stack.plan import Gain
from obol.stack.space import Space
from tests.unit.stack.world import LITELLM, PAUSE, engine_status

if TYPE_CHECKING:
    from collections.abc import Sequence

OTTER = Identity("brave-otter", "podman")
SEEN = Seen(None, ())
HOME = Home(Path("/config"))
DISK = Space("/caches", 2**30, None, "/data", data_there=False)
HUB = Mirror("docker.io", "http://127.0.0.1:54100")


def raised(gain: Gain | None = None, mirrors: tuple[Mirror, ...] = (HUB,)) -> Raised:
    """A stack that is up."""
    deployed = Deployed("http://127.0.0.1:4000")
    return Raised(Up(created=True), deployed, None, mirrors, 12.3456, gain, ("One thing.",))


def text(parts: Sequence[object]) -> str:
    """The lines."""
    return "\n".join(part for part in parts if isinstance(part, str))


def test_up_for_people() -> None:
    """It tells where LiteLLM answers, what came from where, and what that saved."""
    told = text(raised_parts(HOME, OTTER, raised(Gain(2**30, 0, 95.0))))

    assert "brave-otter is up on podman (12 s)" in told
    assert "http://127.0.0.1:4000" in told
    assert "docker.io by http://127.0.0.1:54100" in told
    assert "1.0 GiB came from the cache, 0 B from upstream." in told
    assert "saved about 1 min 35 s" in told


@pytest.mark.parametrize("saved", [None, 0.4])
def test_nothing_to_boast_of(saved: float | None) -> None:
    """What saved nothing, or is not known to have, is not said to have saved anything."""
    assert "saved" not in text(raised_parts(HOME, OTTER, raised(Gain(5, 5, saved))))


def test_a_first_pull_says_so() -> None:
    """Where all came from upstream, nothing is said to have come from the cache, or to have saved time."""
    told = text(raised_parts(HOME, OTTER, raised(Gain(0, 135 * 2**20, None))))

    assert "Nothing saved yet: all 135 MiB came from upstream." in told
    assert "from the cache" not in told


def test_where_nothing_was_pulled() -> None:
    """An `up` whose nodes have everything claims nothing."""
    told = text(raised_parts(HOME, OTTER, raised(Gain(0, 0))))

    assert "No image was pulled" in told
    assert "from the cache" not in told
    assert "saved" not in told


def test_not_measured() -> None:
    """An unmeasured run says so, and one without caches says nothing of caches."""
    assert "not measured" in text(raised_parts(HOME, OTTER, raised()))
    assert "cache" not in text(raised_parts(HOME, OTTER, raised(mirrors=())))


def test_the_engine_of_a_cluster_in_docker() -> None:
    """Where containers could serve as well, the switch is named while the builtin engine does."""
    started = Started(engine_status(), already=False)
    cluster = Identity("brave-otter", "k3d")

    assert "--cache-engine containers" in text(raised_parts(HOME, cluster, replace(raised(), caches=started)))
    assert "--cache-engine" not in text(raised_parts(HOME, cluster, raised()))
    assert "--cache-engine" not in text(raised_parts(HOME, OTTER, replace(raised(), caches=started)))


def test_up_for_programs() -> None:
    """Sizes are bytes, and what was not measured is null."""
    measured = raised_result(HOME, (LITELLM, PAUSE), OTTER, raised(Gain(7, 3, 1.26, {"ghcr.io": (7, 3)})))
    bare = raised_result(HOME, (LITELLM, PAUSE), OTTER, raised(mirrors=()))

    assert (measured.seconds, measured.mirrors) == (12.346, {"docker.io": "http://127.0.0.1:54100"})
    assert measured.gain == GainResult(True, 7, 3, 1.3, (RegistryGain("ghcr.io", 7, 3),))
    assert bare.gain == GainResult(measured=False)
    assert (measured.cache_engine, bare.cache_engine) == ("containers", None)
    assert measured.gateway == Gateway(
        "http://127.0.0.1:4000", "http://127.0.0.1:4000/v1", "/config/litellm-master-key"
    )


def test_images_for_programs() -> None:
    """An image is cached where the engine has all of it; of others nobody can tell."""
    held = replace(
        raised(),
        caches=Started(engine_status(), already=False),
        held={LITELLM.reference: "complete", PAUSE.reference: "incomplete"},
    )

    told = raised_result(HOME, (LITELLM, PAUSE), OTTER, held)

    assert [one.state for one in told.images] == ["cached", "unknown"]
    assert told.cache_engine == "builtin"


def test_what_to_do_next() -> None:
    """Who has a stack is given a command to paste, which prints no key, and the file that the models are in."""
    told = text(raised_parts(HOME, OTTER, raised()))

    assert 'curl -H "Authorization: Bearer $(obol stack key)" http://127.0.0.1:4000/v1/models' in told
    assert "under model_list in /config/workloads/litellm.yaml, and run `obol stack up` again" in told
    assert "curl" not in text(raised_parts(HOME, OTTER, replace(raised(), deployed=Deployed(""))))


def test_status() -> None:
    """It shows the cluster's state, the last `up`, and that no caches run."""
    shown = Shown(
        OTTER, "stopped", LastUp(1_700_000_000.0, 61.25, (), Gain(2**20, 0, 90.0), {"docker.io": "http://g:1"})
    )

    told = text(shown_parts(HOME, shown, SEEN, DISK))

    assert "stopped (backend podman)" in told
    assert "in 1 min 1 s\n         1.0 MiB from the cache, 0 B from upstream, about 1 min 30 s saved" in told
    assert "Wired    docker.io by http://g:1" in told
    assert "Caches   not running" in told
    assert shown_result(HOME, shown, SEEN, DISK).last_up == LastUpResult(
        1_700_000_000.0, 61.2, GainResult(True, 2**20, 0, 90.0)
    )


def test_status_after_an_unmeasured_up() -> None:
    """What was not measured is not told as zero."""
    shown = Shown(OTTER, "running", LastUp(1_700_000_000.0, 5.0, ()))

    assert "from the cache" not in text(shown_parts(HOME, shown, SEEN, DISK))
    last = shown_result(HOME, shown, SEEN, DISK).last_up
    assert last is not None
    assert last.gain == GainResult(measured=False)


def test_containers() -> None:
    """Containers that are there are shown with their state, and one that runs is what serves."""
    cache = CacheContainer("docker.io", "https://registry-1.docker.io", 54100)
    seen = (ContainerSeen(cache, "running", 54100), ContainerSeen(replace(cache, registry="quay.io"), "stopped"))
    shown = Shown(OTTER, "running", None, containers=seen)

    told = shown_result(HOME, shown, SEEN, DISK)

    assert f"Cache    {cache.name} (running)" in text(shown_parts(HOME, shown, SEEN, DISK))
    assert told.cache_engine == "containers"
    assert [(one.registry, one.state, one.port) for one in told.containers] == [
        ("docker.io", "running", 54100),
        ("quay.io", "stopped", None),
    ]
    assert shown_result(HOME, replace(shown, containers=seen[1:]), SEEN, DISK).cache_engine is None


def test_where_the_gateway_answers() -> None:
    """Status says where LiteLLM answers, how to get its key, and which file its models are in."""
    details = Details(workloads=(Workload("litellm", 1, 1, url="http://localhost:8080"),))
    shown = Shown(OTTER, "running", None, details=details)

    told = text(shown_parts(HOME, shown, SEEN, DISK))

    assert "LiteLLM  http://localhost:8080 (its key: `obol stack key`)" in told
    assert "Models   /config/workloads/litellm.yaml\n         `obol stack up` applies what" in told
    gateway = shown_result(HOME, shown, SEEN, DISK).gateway
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
    shown = Shown(replace(OTTER, backend="k3d"), "running", last, details=details)

    parts = shown_parts(HOME, shown, replace(SEEN, caches=running), DISK)

    nodes, workloads, registries = (part for part in parts if isinstance(part, Table))
    assert nodes.rows[1] == ("b", "agent", "stopped")
    assert workloads.rows == (
        ("litellm", "1 of 1", "http://localhost:8080"),
        ("prometheus", "0 of 1", "(ErrImagePull)"),
    )
    assert registries.rows[0][1] == "127.0.0.1:54100, 172.30.0.1:54100, [::1]:54100"
    assert [part for part in parts if str(part).startswith("Port")] == [
        "Port     docker.io on 54110 (54100 is taken by nginx)"
    ]
    assert "Disk     1.0 GiB in /caches" in text(parts)
    assert "Data     /data (not there yet)" in text(parts)
    assert "Wired    quay.io by http://x:1, which is not ours" in text(parts)
    assert "Wired    docker.io" not in text(parts)
    assert max(len(line) for line in text(parts).splitlines()) <= 80


def test_not_known() -> None:
    """A cluster that could not be asked is neither running nor absent, and programs are told why."""
    shown = Shown(OTTER, "unknown", None, trouble="podman is not installed")

    assert "Cluster  not known (backend podman)" in text(shown_parts(HOME, shown, SEEN, DISK))
    assert shown_result(HOME, shown, SEEN, DISK).trouble == "podman is not installed"
    assert shown_result(HOME, shown, SEEN, DISK).cluster == "unknown"


def test_room_that_is_not_known() -> None:
    """What cannot be counted is not told as nothing."""
    told = text(shown_parts(HOME, Shown(OTTER, "absent", None), SEEN, Space("/c", None, 2**30, "/d", data_there=True)))

    assert "Disk     an unknown amount in /c, 1.0 GiB free" in told


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        (Shown(OTTER, "absent", None), 4),
        (Shown(OTTER, "stopped", None), 4),
        (Shown(OTTER, "unknown", None, trouble="no answer"), 1),
        (Shown(OTTER, "running", None), 0),
        (Shown(OTTER, "running", None, trouble="no answer"), 1),
        (Shown(OTTER, "running", None, details=Details(workloads=(Workload("litellm", 1, 1),))), 0),
        (Shown(OTTER, "running", None, details=Details(workloads=(Workload("litellm", 0, 1),))), 1),
        (Shown(OTTER, "running", None, details=Details((Node("n", "agent", running=False),))), 1),
    ],
)
def test_the_exit_code(shown: Shown, code: int) -> None:
    """What runs whole is 0, what does not run is 4, and all between is 1."""
    assert shown_code(shown) == code


def test_a_registry_to_push_to_is_ours() -> None:
    """What nodes ask at a container that is listed is not said to be somebody else's."""
    push = ContainerSeen(push_registry(), "running", 40003)
    at = "http://k3d-obol-local.localhost:5000"
    last = LastUp(1_700_000_000.0, 5.0, (), mirrors={"localhost:40003": at, "quay.io": "http://x:1"})
    shown = Shown(replace(OTTER, backend="k3d"), "running", last, containers=(push,))

    for seen in (replace(SEEN, caches=Running(engine_status())), replace(SEEN, caches=None)):
        lines = [part for part in shown_parts(HOME, shown, seen, DISK) if isinstance(part, str)]
        assert "Cache    k3d-obol-local.localhost (running, on 40003, not 54103)" in lines
        assert [line for line in lines if line.startswith("Wired")] == [
            "Wired    quay.io by http://x:1, which is not ours"
        ]
