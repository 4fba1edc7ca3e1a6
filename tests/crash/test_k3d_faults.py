"""What can go wrong between k3d and us, and what is left of it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from obol.backends.k3d.backend import CREATIONS
from obol.backends.k3d.cli import HostPortTaken, NameTaken, NetworkGone
from obol.errors import ObolError
from obol.machine.docker.errors import NoAddressPool
from tests.fakes import docker as fake
from tests.fakes.k3dstack import ID, NAME, NODE, Stack, on_fresh_machine

REMAINS = [
    f"docker ps --all --no-trunc --filter label=k3d.cluster={NAME} --format {{{{json .}}}}",
    f"docker volume ls --quiet --filter label=k3d.cluster={NAME}",
    f"docker network ls --no-trunc --filter name=^k3d-{NAME}$ --format {{{{json .}}}}",
]
PORT_TAKEN = [
    "Bind for 127.0.0.1:{port} failed: port is already allocated",
    "Error starting userland proxy: listen tcp4 127.0.0.1:{port}: bind: address already in use",
    "failed to bind host port 127.0.0.1:{port}:172.18.0.3:443/tcp: address already in use",
    "error while calling PortManager.AddPort(): listen tcp 127.0.0.1:{port}: bind: address already in use",
    "error while calling RootlessKit PortManager.AddPort(): cannot expose privileged port {port}, you can add it",
    "Ports are not available: exposing port TCP 127.0.0.1:{port} -> 127.0.0.1:0: listen tcp 127.0.0.1:{port}: bind: x",
    "listen tcp 127.0.0.1:{port}: bind: Only one usage of each socket address is normally permitted.",
]
CONTAINER = '[{"Id":"c1","Name":"/x","State":{"Status":"running"},"Config":{},"HostConfig":{},"NetworkSettings":{}}]'


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A machine that has everything but a cluster."""
    return on_fresh_machine(tmp_path)


@pytest.mark.parametrize(
    ("said", "kind"),
    [("all predefined address pools have been fully subnetted", NoAddressPool), ("timed out", ObolError)],
)
async def test_create_fails(stack: Stack, said: str, kind: type[ObolError]) -> None:
    """What k3d leaves of a cluster that it could not make is removed, and the way is free for the next try."""
    stack.machine.script("k3d", "cluster", "create", code=1, stderr=f"FATA[0001] {said}")

    with pytest.raises(kind):
        await stack.backend.up(stack.spec(), stack.step)

    assert stack.machine.lines[-4:] == [*REMAINS, REMAINS[0]]
    assert not (stack.config / ".k3d-being-made").exists()


@pytest.mark.parametrize("said", PORT_TAKEN)
async def test_port_taken_meanwhile(stack: Stack, said: str) -> None:
    """A port that was free when it was chosen, and is taken when Docker binds it, costs the cluster only that port."""
    stack.machine.bound, stack.machine.port_taken = {8443}, said

    await stack.backend.up(stack.spec(), stack.step)

    ports = stack.machine.clusters[NAME].ports
    assert [port.partition("@")[0] for port in ports] == [f"127.0.0.1:{one}" for one in ("80:80", "8080:80", "443:443")]
    assert stack.notes == ["Port 8443 is taken: use 443 instead."]
    assert stack.lines[:2] == ["creating the cluster", "creating the cluster once more, on other ports"]


async def test_port_taken_and_not_named(stack: Stack) -> None:
    """Where Docker does not say which port is taken, none of them is tried again."""
    stack.machine.bound, stack.machine.port_taken = {80}, "address already in use"

    await stack.backend.up(stack.spec(), stack.step)

    assert [port.partition("@")[0] for port in stack.machine.clusters[NAME].ports] == [
        "127.0.0.1:41001:80",
        "127.0.0.1:41002:443",
    ]


async def test_two_at_once(stack: Stack, tmp_path: Path) -> None:
    """Of two stacks that come up at once on one Docker, each is made, once, on ports of its own."""
    other = Stack(stack.machine, tmp_path / "other")
    spec = replace(other.spec(), stack_id="brave-newt")

    await asyncio.gather(stack.backend.up(stack.spec(), stack.step), other.backend.up(spec, other.step))

    first, second = (set(one.ports) | {one.api_port} for one in stack.machine.clusters.values())
    assert len(stack.machine.clusters) == 2
    assert not {port.split(":")[1] for port in first} & {port.split(":")[1] for port in second}


async def test_every_port_taken(stack: Stack) -> None:
    """After some attempts it is enough: nothing is left of them, and the reason is told."""
    stack.machine.script("k3d", "cluster", "create", code=1, stderr=f"FATA[0001] {PORT_TAKEN[0].format(port=80)}")

    with pytest.raises(HostPortTaken, match=r"taken again and again: .*port is already allocated"):
        await stack.backend.up(stack.spec(), stack.step)

    assert sum(line.startswith("k3d cluster create") for line in stack.machine.lines) == CREATIONS
    assert not (stack.config / ".k3d-being-made").exists()


async def test_no_free_port(stack: Stack) -> None:
    """A machine without a free port is told of."""
    stack.ports.full = True

    with pytest.raises(HostPortTaken, match="no port is free for the cluster"):
        await stack.backend.up(stack.spec(), stack.step)


async def test_port_taken_and_remains(stack: Stack) -> None:
    """While something of a failed attempt is left, there is no other: k3d would take it for somebody else's cluster."""
    stack.machine.bound = {80}
    stack.machine.script("docker", "ps", stdout='{"ID":"c1"}\n')
    stack.machine.script("docker", "container", "inspect", stdout=CONTAINER)

    with pytest.raises(HostPortTaken, match="port 80 of this machine is taken"):
        await stack.backend.up(stack.spec(), stack.step)

    assert (stack.config / ".k3d-being-made").exists()


@pytest.mark.parametrize("made_anew", [True, False])
async def test_network_was_pruned(stack: Stack, made_anew: bool) -> None:
    """A stopped cluster whose network was pruned is put on the new one; where there is none, the way out is told."""
    stack.holds(runs=False)
    gone = "FATA[0000] Failed Cluster Start: failed to start containers: network 078e3bb1 not found"
    stack.machine.script("k3d", "cluster", "start", code=1, stderr=gone)
    stack.machine.script("k3d", "cluster", "start")
    fake.all_networks(stack.machine, *([fake.network("obol-net", id_="new")] if made_anew else []))
    fake.all_containers(stack.machine, fake.container(NODE, status="exited", networks={"obol-net": "old"}))

    if made_anew:
        await stack.backend.up(stack.spec(), stack.step)
        assert stack.notes == ["The network of the cluster had been removed: the cluster is on a new one now."]
        assert f"docker network connect new {NODE}" in stack.machine.lines
    else:
        with pytest.raises(NetworkGone) as caught:
            await stack.backend.up(stack.spec(), stack.step)
        assert "obol stack purge" in caught.value.hint


@pytest.mark.parametrize("publishes", [True, False])
async def test_port_of_a_stopped_cluster(stack: Stack, publishes: bool) -> None:
    """A cluster that was stopped and finds one of its ports taken stays; by whom, and what to do, is told."""
    stack.holds(runs=False)
    stack.machine.bound = {8080}
    stack.machine.script("docker", "ps", stdout='{"ID":"c1"}\n' if publishes else "")
    stack.machine.script("docker", "container", "inspect", stdout=CONTAINER)

    with pytest.raises(HostPortTaken) as caught:
        await stack.backend.up(stack.spec(), stack.step)

    by = " by the container x" if publishes else ""
    assert caught.value.what == f"port 8080 of this machine is taken{by}"
    assert "obol stack purge" in caught.value.hint
    assert NAME in stack.machine.clusters


async def test_name_taken(stack: Stack) -> None:
    """A cluster that somebody else has made meanwhile is not taken for remains of ours."""
    said = "FATA[0000] Failed to create cluster 'x' because a cluster with that name already exists"
    stack.machine.script("k3d", "cluster", "create", code=1, stderr=said)

    with pytest.raises(NameTaken):
        await stack.backend.up(stack.spec(), stack.step)

    assert stack.machine.lines[-1].startswith("k3d cluster create")
    assert not (stack.config / ".k3d-being-made").exists()


async def test_unfinished_cleaning(stack: Stack) -> None:
    """Where remains cannot be removed either, k3d's error is told, and the next try knows that there may be some."""
    stack.machine.script("k3d", "cluster", "create", code=1, stderr="FATA[0001] timed out")
    stack.machine.script("docker", "ps", code=1, stderr="Cannot connect to the Docker daemon")

    with pytest.raises(ObolError, match="timed out"):
        await stack.backend.up(stack.spec(), stack.step)

    assert (stack.config / ".k3d-being-made").read_text() == f"{NAME}\n"


@pytest.mark.parametrize("marked", [True, False])
async def test_half_made(stack: Stack, marked: bool) -> None:
    """A cluster that was being made when we were stopped is made anew; one without servers is none anyway."""
    cluster = stack.holds("", runs=False)
    stack.config.mkdir()
    if marked:
        (stack.config / ".k3d-being-made").write_text(NAME)
    else:
        listed = f'[{{"name":"{NAME}","nodes":[],"serversRunning":0,"serversCount":0}}]'
        stack.machine.script("k3d", "cluster", "list", stdout=listed)

    up = await stack.backend.up(stack.spec(), stack.step)

    assert up.created
    assert stack.machine.clusters[NAME] is not cluster
    assert stack.machine.lines[1:5] == [f"k3d cluster delete {NAME}", *REMAINS]


async def test_made_after_all(stack: Stack) -> None:
    """A cluster that was made although we were stopped is kept."""
    cluster = stack.holds()
    stack.config.mkdir()
    (stack.config / ".k3d-being-made").write_text(NAME)

    assert not (await stack.backend.up(stack.spec(), stack.step)).created
    assert stack.machine.clusters[NAME] is cluster
    assert not (stack.config / ".k3d-being-made").exists()


@pytest.mark.parametrize("marker", ["obol-stack-other\n", "\udcff"])
async def test_marker_of_others(stack: Stack, marker: str) -> None:
    """A file that names another cluster, or nothing, does not cost us ours."""
    cluster = stack.holds(runs=False)
    stack.config.mkdir()
    (stack.config / ".k3d-being-made").write_text(marker, errors="surrogateescape")

    await stack.backend.up(stack.spec(), stack.step)

    assert stack.machine.clusters[NAME] is cluster


async def test_no_api(stack: Stack) -> None:
    """A cluster whose API does not answer is left as it is."""
    stack.status = None

    with pytest.raises(ObolError, match="API is not up"):
        await stack.backend.up(stack.spec(), stack.step)

    assert stack.machine.clusters[NAME].servers


@pytest.mark.parametrize(
    ("block", "what"),
    [("data", "the data directory .* cannot be made"), ("config", "registries.yaml cannot be written")],
)
async def test_directories_that_are_files(stack: Stack, tmp_path: Path, block: str, what: str) -> None:
    """What cannot be written is named."""
    (tmp_path / block).write_text("")

    with pytest.raises(ObolError, match=what):
        await stack.backend.up(stack.spec(), stack.step)


async def test_down_fails(stack: Stack) -> None:
    """A cluster that cannot be stopped is told of and kept."""
    stack.holds()
    stack.machine.script("k3d", "cluster", "stop", code=1, stderr="FATA[0000] it does not want to")

    with pytest.raises(ObolError, match="could not stop the cluster: it does not want to"):
        await stack.backend.down(ID)

    assert not any("delete" in line for line in stack.machine.lines)


async def test_purge_without_k3d(stack: Stack) -> None:
    """Where k3d fails, or is gone, Docker can remove the cluster as well."""
    stack.machine.missing.add("k3d")
    stack.machine.script("docker", "ps", stdout='{"ID":"c1"}\n')
    stack.machine.script("docker", "ps")
    stack.machine.script("docker", "container", "inspect", stdout=CONTAINER)

    await stack.backend.purge(ID, images=False)

    assert "docker rm --force --volumes c1" in stack.machine.lines


async def test_purge_fails(stack: Stack) -> None:
    """A cluster that is still there is told of in k3d's words, and its files stay."""
    await stack.backend.up(stack.spec(), stack.step)
    stack.machine.script("k3d", "cluster", "delete", code=1, stderr="FATA[0000] it does not want to")
    stack.machine.script("docker", "ps", stdout='{"ID":"c1"}\n')
    stack.machine.script("docker", "container", "inspect", stdout=CONTAINER)

    with pytest.raises(ObolError, match="could not remove the cluster: it does not want to"):
        await stack.backend.purge(ID, images=False)

    assert (stack.config / "kubeconfig.yaml").exists()
