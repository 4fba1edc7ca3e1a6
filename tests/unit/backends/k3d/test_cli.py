import json
from typing import Any

import pytest

from obol.backends.k3d.cli import HostPortTaken, K3d, NameTaken, NetworkGone, Version
from obol.errors import DependencyMissing, ObolError
from obol.machine.docker.errors import DockerForbidden, DockerNotRunning, NoAddressPool
from tests.fakes.k3d import TOKEN
from tests.fakes.runner import FakeRunner

NAME = "obol-stack-calm-otter"
LISTED: list[dict[str, Any]] = [
    {
        "name": f"{NAME}-2",
        "network": {"name": "obol-net"},
        "nodes": [{"name": "x", "role": "server", "State": {"Running": True, "Status": "running"}}],
        "serversRunning": 1,
        "serversCount": 1,
    },
    {
        "name": NAME,
        "network": {"name": "k3d-theirs", "id": "", "external": False, "ipam": {"ipPrefix": ""}},
        "nodes": [
            {
                "name": f"k3d-{NAME}-server-0",
                "role": "server",
                "env": [f"K3S_TOKEN={TOKEN}"],
                "runtimeLabels": {"k3d.cluster.token": TOKEN},
                "portMappings": {},
                "State": {"Running": True, "Status": "running", "Started": ""},
            },
            {
                "name": f"k3d-{NAME}-serverlb",
                "role": "loadbalancer",
                "portMappings": {
                    "443/tcp": None,
                    "6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "41234"}],
                    "80/tcp": [
                        {"HostIp": "127.0.0.1", "HostPort": "8080"},
                        {"HostIp": "127.0.0.1", "HostPort": "80"},
                        {"HostIp": "127.0.0.1", "HostPort": ""},
                    ],
                },
                "State": {"Running": False, "Status": "exited"},
            },
        ],
        "serversRunning": 1,
        "serversCount": 1,
        "agentsRunning": 0,
        "agentsCount": 0,
    },
]


def answering(*, code: int = 0, stdout: str = "", stderr: str = "") -> tuple[K3d, FakeRunner]:
    """A k3d that says the same to everything."""
    runner = FakeRunner()
    runner.script("k3d", code=code, stdout=stdout, stderr=stderr)
    return K3d(runner), runner


@pytest.mark.parametrize(
    ("says", "tag"), [("v5.9.0", "5.9.0"), ("v5.6.3", "5.6.3"), ("5.10.1", "5.10.1"), ("v5-dev", "latest")]
)
async def test_version(says: str, tag: str) -> None:
    """k3d's version is the tag of the images that it runs; one that was built by hand takes the latest."""
    k3d, runner = answering(stdout=f'{{"k3d":"{says}","k3s":"v1.35.5-k3s1"}}')

    assert await k3d.version() == Version(says)
    assert Version(says).image_tag == tag
    assert runner.lines == ["k3d version -o json"]


@pytest.mark.parametrize("says", ['{"k3d":"v5.5.2","k3s":""}', '{"k3d":"v4.4.8"}', "k3d version v3.0.0", ""])
async def test_too_old(says: str) -> None:
    """A k3d that is too old, or that does not even know the question, is a dependency that is missing."""
    k3d, _ = answering(stdout=says)

    with pytest.raises(DependencyMissing, match="too old") as caught:
        await k3d.version()

    assert "5.6" in caught.value.hint


async def test_not_installed() -> None:
    """Where there is no k3d it is said where to get it."""
    with pytest.raises(DependencyMissing, match="k3d is not installed") as caught:
        await K3d(FakeRunner(missing={"k3d"})).version()

    assert "https://k3d.io" in caught.value.hint


async def test_cluster() -> None:
    """A cluster is found by its whole name; one whose load balancer does not run, does not run."""
    k3d, runner = answering(stdout=json.dumps(LISTED))

    cluster = await k3d.cluster(NAME)

    assert cluster is not None
    assert (cluster.name, cluster.runs, cluster.stopped) == (NAME, False, False)
    assert cluster.host_port(80) == 80
    assert cluster.host_port(443) is None
    assert cluster.host_ports == {80, 8080, 41234}
    assert cluster.network_name == "k3d-theirs"
    assert TOKEN not in repr(cluster)
    assert runner.lines == ["k3d cluster list -o json"]


async def test_running_and_stopped() -> None:
    """A cluster runs when all of it does, and is stopped when nothing of it does."""
    for runs in (True, False):
        listed = json.loads(
            json.dumps(LISTED[1:]).replace("false", str(runs).lower()).replace("true", str(runs).lower())
        )
        listed[0]["serversRunning"] = int(runs)
        k3d, _ = answering(stdout=json.dumps(listed))

        cluster = await k3d.cluster(NAME)

        assert cluster is not None
        assert (cluster.runs, cluster.stopped) == (runs, not runs)


@pytest.mark.parametrize("network", [{}, {"network": None}, {"network": {}}, {"network": {"name": ""}}])
async def test_unknown_network(network: dict[str, Any]) -> None:
    """A network that k3d does not name is not known."""
    k3d, _ = answering(stdout=json.dumps([{"name": NAME, **network}]))

    cluster = await k3d.cluster(NAME)

    assert cluster is not None
    assert cluster.network_name == ""


@pytest.mark.parametrize("listed", [[], LISTED[:1], [{"name": "obol-stack-calm"}]])
async def test_no_cluster(listed: list[dict[str, Any]]) -> None:
    """A name that begins with ours, or with which ours begins, is another one's."""
    k3d, _ = answering(stdout=json.dumps(listed))

    assert await k3d.cluster(NAME) is None


async def test_list_that_is_none() -> None:
    """A list that cannot be read is an error without a word of it, since it holds tokens."""
    k3d, _ = answering(stdout=json.dumps([{"name": 1, "token": TOKEN}]))

    with pytest.raises(ObolError, match="do not understand") as caught:
        await k3d.cluster(NAME)

    assert TOKEN not in f"{caught.value!r}{caught.value.hint}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "Failed to create cluster 'x' because a cluster with that name already exists",
            NameTaken,
            "there is a cluster of that name already",
        ),
        (
            "Failed Cluster Start: Bind for 127.0.0.1:8080 failed: port is already allocated",
            HostPortTaken,
            "port 8080 of this machine is taken",
        ),
        (
            "Failed Cluster Start: listen tcp4 0.0.0.0:443: bind: address already in use",
            HostPortTaken,
            "port 443 of this machine is taken",
        ),
        ("something: address already in use", HostPortTaken, "a port of this machine is taken"),
        (
            "docker failed to create new network 'k3d-zz': all predefined address pools have been fully subnetted",
            NoAddressPool,
            "no address range left",
        ),
        ("Cannot connect to the Docker daemon at unix:///x", DockerNotRunning, "Docker is not running"),
        ("permission denied while trying to connect to the Docker daemon socket", DockerForbidden, "by this user"),
        ("failed to start containers: network 078e3bb1 not found", NetworkGone, "the network that it was in is gone"),
        ("Failed Cluster Configuration Validation: not a valid hostname", ObolError, "could not create the cluster"),
    ],
)
async def test_refusals(said: str, kind: type[ObolError], words: str) -> None:
    """Each way in which k3d fails is an error of its own, with a remedy."""
    k3d, _ = answering(code=1, stderr=f"\x1b[31mFATA\x1b[0m[0000] {said}\n")

    with pytest.raises(kind, match=words) as caught:
        await k3d.create(["cluster", "create", NAME])

    assert type(caught.value) is kind
    assert caught.value.hint
    assert "\x1b" not in str(caught.value)


LOG = (
    "\x1b[33mWARN\x1b[0m[0000] No node filter specified\n"
    f"\x1b[31mERRO\x1b[0m[0002] Failed Cluster Start: node exited, env K3S_TOKEN={TOKEN}\n"
    "\x1b[31mERRO\x1b[0m[0002] Failed to create cluster >>> Rolling Back\n"
    "\x1b[31mFATA\x1b[0m[0003] Cluster creation FAILED, all changes have been rolled back!\n"
)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (LOG, "Failed Cluster Start: node exited, env K3S_TOKEN=…"),
        ("Error: unknown flag: --runtime-ulimit", "Error: unknown flag: --runtime-ulimit"),
        ("", "exit code 1"),
        ("FATA[0000] Cluster creation FAILED", "Cluster creation FAILED"),
    ],
)
async def test_failed_create(said: str, why: str) -> None:
    """Of a log the lines about the failure are told: without colours, k3d's own progress, and tokens."""
    k3d, _ = answering(code=1, stderr=said)

    with pytest.raises(ObolError) as caught:
        await k3d.create(["cluster", "create", NAME])

    assert caught.value.why == why


async def test_what_may_be_shown() -> None:
    """Each verb is one call, with a limit. What makes changes is loud; lists and keys never are."""
    quiet, loud = FakeRunner(), FakeRunner()
    quiet.script("k3d", "cluster", "list", stdout="[]")
    quiet.script("k3d", "kubeconfig", stdout="kind: Config\n")
    k3d = K3d(quiet, loud)

    await k3d.create(["cluster", "create", "a"])
    await k3d.start("a")
    await k3d.stop("a")
    await k3d.delete("a")
    await k3d.cluster("a")

    assert await k3d.kubeconfig("a") == "kind: Config\n"
    assert loud.lines == [f"k3d cluster {verb} a" for verb in ("create", "start", "stop", "delete")]
    assert [ran.timeout for ran in loud.ran] == [1800, 300, 300, 300]
    assert quiet.lines == ["k3d cluster list -o json", "k3d kubeconfig get a"]
    assert quiet.ran[1].timeout == 30
