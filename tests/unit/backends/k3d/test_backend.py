import json
import stat
from pathlib import Path

import pytest

from obol.backends.k3d.backend import K3dBackend
from obol.backends.k3d.hostimages import HostPullFailed
from obol.backends.ports import ClusterSpec, Deployed, Details, Inspectable, Node, Workload
from obol.errors import DependencyMissing, ObolError
from obol.rendering.registries import Mirror
from obol.workloads.sources import packaged
from tests.fakes.k3d import FakeCluster
from tests.fakes.k3dstack import ID, IMAGES, K3S, MIRRORS, NAME, NODE, PROXY, TOOLS, WIRED, Stack, on_fresh_machine

LIST = "k3d cluster list -o json"
READ = f"docker cp {NODE}:/etc/rancher/k3s/registries.yaml -"
REMAINS = [
    f"docker ps --all --no-trunc --filter label=k3d.cluster={NAME} --format {{{{json .}}}}",
    f"docker volume ls --quiet --filter label=k3d.cluster={NAME}",
    f"docker network ls --no-trunc --filter name=^k3d-{NAME}$ --format {{{{json .}}}}",
]
MOVED = WIRED.replace("172.30.0.1", "172.31.0.1")
CONTAINER = '[{"Id":"c1","Name":"/x","State":{"Status":"running"},"Config":{},"HostConfig":{},"NetworkSettings":{}}]'


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A machine that has everything but a cluster."""
    return on_fresh_machine(tmp_path)


def mode(path: Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_check(stack: Stack) -> None:
    """Docker and k3d are both asked."""
    await stack.backend.check()

    assert stack.machine.lines == ["docker version --format {{json .}}", "k3d version -o json"]


async def test_too_old(stack: Stack) -> None:
    """A Docker that k3d cannot use is a dependency that is missing."""
    said = '{"Client":{"Version":"27.3.1"},"Server":{"Version":"19.03.15"}}'
    stack.machine.script("docker", "version", stdout=said)

    with pytest.raises(DependencyMissing, match=r"Docker 19\.03\.15 is too old"):
        await stack.backend.check()


async def test_state(stack: Stack) -> None:
    """A cluster is absent, stopped or running; one whose name begins alike is another."""
    stack.machine.clusters[f"{NAME}s"] = FakeCluster()
    assert await stack.backend.state(ID) == "absent"

    cluster = stack.holds()
    assert await stack.backend.state(ID) == "running"

    cluster.balancer = False
    assert await stack.backend.state(ID) == "stopped"


async def test_create(stack: Stack) -> None:
    """A cluster is made on our network with a registries.yaml of ours, and its kubeconfig is kept for us alone."""
    up = await stack.backend.up(stack.spec(), stack.step)

    assert up.created
    assert stack.notes == []
    registries, kubeconfig = stack.config / "registries.yaml", stack.config / "kubeconfig.yaml"
    assert registries.read_text() == WIRED
    assert "https://127.0.0.1:41000" in kubeconfig.read_text()
    assert (mode(registries), mode(kubeconfig)) == (0o600, 0o600)
    assert (stack.config.parent / "data").is_dir()
    assert not (stack.config / ".k3d-being-made").exists()
    assert stack.asked == ["https://127.0.0.1:41000"]
    assert stack.machine.networks == {"obol-net"}
    create = next(line for line in stack.machine.lines if line.startswith("k3d cluster create"))
    assert stack.machine.lines == [
        LIST,
        "k3d version -o json",
        *(f"docker image inspect --format {{{{.Id}}}} {image}" for image in (K3S, PROXY, TOOLS)),
        create,
        f"k3d kubeconfig get {NAME}",
    ]
    assert f"--network obol-net --registry-config {registries} --api-port 127.0.0.1:41000 --port " in create
    assert "--port 127.0.0.1:80:80@loadbalancer" in create
    assert f"--volume {stack.config.parent}/data:/data@all" in create
    assert stack.lines == ["creating the cluster", "waiting for the cluster's API"]


async def test_create_without_caches(stack: Stack) -> None:
    """Without mirrors no cache and no registries.yaml is touched, and Docker pulls by itself."""
    stack.machine.images.clear()
    stack.machine.reachable = {""}

    await stack.backend.up(stack.spec(()), stack.step)

    assert not (stack.config / "registries.yaml").exists()
    assert not any("127.0.0.1:5410" in line or "registr" in line for line in stack.machine.lines)
    assert [line for line in stack.machine.lines if " pull " in line] == [
        f"docker pull --quiet {image}" for image in (K3S, PROXY, TOOLS)
    ]


async def test_images_by_the_caches(stack: Stack) -> None:
    """What Docker runs and does not have comes from the caches, so that a fresh Docker comes up offline too."""
    stack.machine.images = {PROXY}
    stack.machine.reachable = {"127.0.0.1:"}

    await stack.backend.up(stack.spec(), stack.step)

    assert stack.machine.images == IMAGES
    assert [line for line in stack.machine.lines if " pull " in line] == [
        "docker pull --quiet 127.0.0.1:54100/rancher/k3s:v1.35.5-k3s1",
        "docker pull --quiet 127.0.0.1:54101/k3d-io/k3d-tools:5.9.0",
    ]
    assert stack.lines[:2] == [f"pulling what k3d itself needs: {image}" for image in (K3S, TOOLS)]


async def test_images_past_the_caches(stack: Stack) -> None:
    """An image that a cache does not give is left to Docker; what Docker cannot get to either is said before k3d."""
    stack.machine.images = set()
    stack.machine.reachable = {"docker.io/"}

    with pytest.raises(HostPullFailed, match=r"cannot pull ghcr\.io/k3d-io/k3d-proxy:5\.9\.0, which k3d needs"):
        await stack.backend.up(stack.spec(), stack.step)

    assert stack.machine.images == {K3S}
    assert not any("create" in line for line in stack.machine.lines)


async def test_busy_ports(stack: Stack) -> None:
    """What is told of the ports is told of the cluster."""
    stack.ports.privileged = {80}

    await stack.backend.up(stack.spec(), stack.step)

    assert stack.notes == ["Port 80 is taken by nginx (pid 7): use 8080 instead."]
    assert stack.machine.clusters[NAME].ports[0] == "127.0.0.1:8080:80@loadbalancer"


@pytest.mark.parametrize("runs", [True, False])
async def test_there(stack: Stack, runs: bool) -> None:
    """A cluster that knows what it should is left alone, or started; its kubeconfig is written anew either way."""
    stack.holds(runs=runs)

    up = await stack.backend.up(stack.spec(), stack.step)

    assert (up.created, stack.notes) == (False, [])
    start = [] if runs else [f"k3d cluster start {NAME}"]
    assert stack.machine.lines == [LIST, READ, *start, f"k3d kubeconfig get {NAME}"]
    assert (stack.config / "registries.yaml").read_text() == WIRED
    assert (stack.config / "kubeconfig.yaml").exists()


async def test_open_to_all(stack: Stack) -> None:
    """A cluster that was made with ports on all addresses is still found, on loopback."""
    cluster = stack.holds()
    cluster.api_port, cluster.ports = "0.0.0.0:41234", ["0.0.0.0:8080:80@loadbalancer"]

    await stack.backend.up(stack.spec(), stack.step)

    assert stack.asked == ["https://127.0.0.1:41234"]
    deployed = await stack.backend.apply(stack.spec(), packaged(), stack.step)
    assert deployed == Deployed("http://localhost:8080")


@pytest.mark.parametrize("before", [WIRED, MOVED])
async def test_on_another_network(stack: Stack, before: str) -> None:
    """A cluster that is on another network than the caches is told of them, and that it may not reach them is said."""
    stack.holds(before).network = "k3d-theirs"

    await stack.backend.up(stack.spec(), stack.step)

    assert "on the network k3d-theirs" in stack.notes[-1]
    assert "`obol stack purge` and `obol stack up`" in stack.notes[-1]
    assert len(stack.notes) == (1 if before == WIRED else 2)


@pytest.mark.parametrize(("network", "mirrors"), [("", MIRRORS), ("obol-net", MIRRORS), ("k3d-theirs", ())])
async def test_network_without_a_note(stack: Stack, network: str, mirrors: tuple[Mirror, ...]) -> None:
    """Of a network that is ours, or not known, or on which no caches are looked for, there is nothing to say."""
    stack.holds(WIRED if mirrors else "").network = network

    await stack.backend.up(stack.spec(mirrors), stack.step)
    assert stack.notes == []


@pytest.mark.parametrize(
    ("before", "mirrors", "note"),
    [
        ("", MIRRORS, "made without registry caches"),
        (MOVED, MIRRORS, "caches are elsewhere now"),
        (WIRED, (), "had been told of registry caches"),
    ],
)
@pytest.mark.parametrize("state", ["running", "half", "stopped"])
async def test_rewired(stack: Stack, before: str, mirrors: tuple[Mirror, ...], note: str, state: str) -> None:
    """A cluster that knows other mirrors than it should is told of them while it is stopped, and that is said."""
    cluster = stack.holds(before, runs=state != "stopped")
    cluster.balancer = state == "running"

    await stack.backend.up(stack.spec(mirrors), stack.step)

    assert cluster == FakeCluster(True, True, True, WIRED if mirrors else "mirrors: {}\n", cluster.ports)
    assert stack.machine.lines == [
        *[LIST, READ],
        *([f"k3d cluster stop {NAME}"] if state != "stopped" else []),
        *[f"docker cp - {NODE}:/etc", f"k3d cluster start {NAME}", f"k3d kubeconfig get {NAME}"],
    ]
    assert len(stack.notes) == 1
    assert note in stack.notes[0]


@pytest.mark.parametrize(("before", "says"), [("", "pulls images directly"), (MOVED, "not there any more")])
async def test_not_rewired(stack: Stack, before: str, says: str) -> None:
    """A cluster that cannot be told is started as it is, and what that means is said."""
    cluster = stack.holds(before)
    stack.machine.script("docker", "cp", "-", code=1, stderr="Error response from daemon: read-only file system")

    await stack.backend.up(stack.spec(), stack.step)

    assert cluster.servers
    assert says in stack.notes[0]
    assert "read-only file system" in stack.notes[0]
    assert "obol stack purge" in stack.notes[0]


async def test_data_directory_with_colon(stack: Stack, tmp_path: Path) -> None:
    """A path that Docker would take apart is refused before anything is made."""
    spec = ClusterSpec(ID, stack.config, tmp_path / "a:b", ())

    with pytest.raises(ObolError, match="cannot be given to a container"):
        await stack.backend.up(spec, stack.step)

    assert stack.machine.lines == [LIST]


async def test_apply(stack: Stack) -> None:
    """Manifests are brought by this machine's kubectl; the address is the port that the load balancer publishes."""
    stack.holds()

    deployed = await stack.backend.apply(stack.spec(), packaged(), stack.step)

    assert deployed == Deployed("http://localhost:8080")
    assert stack.machine.lines == [
        "kubectl version --client",
        *["kubectl apply -f -"] * 5,
        "kubectl get deployments,pods --all-namespaces -o json",
        LIST,
    ]
    environ = {"PATH": "/bin", "KUBECONFIG": str(stack.config / "kubeconfig.yaml")}
    assert [ran.env for ran in stack.machine.ran] == [*[environ] * 7, None]
    assert ("Ingress", "litellm") in stack.machine.applied


async def test_apply_in_development_mode(stack: Stack) -> None:
    """The cluster tells of the registry to push into where it has one, and only there."""
    stack.holds()
    await stack.backend.apply(stack.spec(), (), stack.step)
    assert not stack.machine.applied

    push = Mirror("localhost:54103", "http://k3d-obol-local.localhost:5000", takes_pushes=True)
    await stack.backend.apply(stack.spec((*MIRRORS, push)), (), stack.step)

    assert list(stack.machine.applied) == [("ConfigMap", "local-registry-hosting")]


async def test_mirrors(stack: Stack) -> None:
    """What the node was told of is read from the node."""
    stack.holds()
    assert isinstance(stack.backend, K3dBackend)

    found = await stack.backend.mirrors(ID)

    assert found == {mirror.registry: (mirror.endpoint,) for mirror in MIRRORS}
    assert stack.machine.lines == [READ]


async def test_apply_by_the_node(stack: Stack) -> None:
    """Without a kubectl of this machine the node's own is used; a cluster that is gone meanwhile has no address."""
    stack.machine.missing.add("kubectl")

    assert await stack.backend.apply(stack.spec(), packaged(), stack.step) == Deployed("")
    assert f"docker exec -i {NODE} kubectl apply -f -" in stack.machine.lines


async def test_down(stack: Stack) -> None:
    """A cluster is stopped, never removed; one that is stopped, or not there, is left alone."""
    await stack.backend.down(ID)
    stack.holds()
    await stack.backend.down(ID)
    await stack.backend.down(ID)

    assert stack.machine.lines == [LIST, LIST, f"k3d cluster stop {NAME}", LIST]


@pytest.mark.parametrize("there", [True, False])
async def test_purge(stack: Stack, there: bool) -> None:
    """The cluster and the files about it go; the same where there is none."""
    if there:
        await stack.backend.up(stack.spec(), stack.step)
    stack.machine.ran.clear()

    await stack.backend.purge(ID, images=True)

    assert [line for line in stack.machine.lines if " rm " not in line] == [f"k3d cluster delete {NAME}", *REMAINS]
    assert not there or list(stack.config.iterdir()) == []
    assert stack.machine.clusters == {}


async def test_details(stack: Stack) -> None:
    """Nodes are told in whichever state, workloads where the cluster runs, and the gateway with its address."""
    inspectable = stack.backend
    assert isinstance(inspectable, Inspectable)
    assert await inspectable.details(ID) == Details()

    cluster = stack.holds(runs=False)
    assert await inspectable.details(ID) == Details(
        (Node(NODE, "server", False), Node(f"k3d-{NAME}-serverlb", "loadbalancer", False))
    )

    cluster.servers = cluster.balancer = True
    metadata = {"name": "litellm", "namespace": "llm"}
    status = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    listing = {"items": [{"kind": "Deployment", "metadata": metadata, "status": status}]}
    stack.machine.script("kubectl", "get", stdout=json.dumps(listing))
    found = await inspectable.details(ID)
    assert [node.running for node in found.nodes] == [True, True]
    assert found.workloads == (Workload("litellm", 1, 1, url="http://localhost:8080"),)
