"""What can go wrong between k3d and us, and what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.backends.k3dcli import NameTaken
from obol.errors import ObolError, PortTaken
from obol.machine.dockererrors import NoAddressPool
from tests.fakes.k3dstack import ID, NAME, Stack, on_fresh_machine

if TYPE_CHECKING:
    from pathlib import Path


REMAINS = [
    f"docker ps --all --no-trunc --filter label=k3d.cluster={NAME} --format {{{{json .}}}}",
    f"docker volume ls --quiet --filter label=k3d.cluster={NAME}",
    f"docker network ls --no-trunc --filter name=^k3d-{NAME}$ --format {{{{json .}}}}",
]
CONTAINER = '[{"Id":"c1","Name":"/x","State":{"Status":"running"},"Config":{},"HostConfig":{},"NetworkSettings":{}}]'


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A machine that has everything but a cluster."""
    return on_fresh_machine(tmp_path)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Bind for 0.0.0.0:80 failed: port is already allocated", PortTaken),
        ("all predefined address pools have been fully subnetted", NoAddressPool),
        ("timed out", ObolError),
    ],
)
async def test_create_fails(stack: Stack, said: str, kind: type[ObolError]) -> None:
    """What k3d leaves of a cluster that it could not make is removed, and the way is free for the next try."""
    stack.machine.script("k3d", "cluster", "create", code=1, stderr=f"FATA[0001] {said}")

    with pytest.raises(kind):
        await stack.backend.up(stack.spec(), stack.lines.append)

    assert stack.machine.lines[-3:] == REMAINS
    assert not (stack.config / ".k3d-being-made").exists()


async def test_name_taken(stack: Stack) -> None:
    """A cluster that somebody else has made meanwhile is not taken for remains of ours."""
    said = "FATA[0000] Failed to create cluster 'x' because a cluster with that name already exists"
    stack.machine.script("k3d", "cluster", "create", code=1, stderr=said)

    with pytest.raises(NameTaken):
        await stack.backend.up(stack.spec(), stack.lines.append)

    assert stack.machine.lines[-1].startswith("k3d cluster create")
    assert not (stack.config / ".k3d-being-made").exists()


async def test_unfinished_cleaning(stack: Stack) -> None:
    """Where remains cannot be removed either, k3d's error is told, and the next try knows that there may be some."""
    stack.machine.script("k3d", "cluster", "create", code=1, stderr="FATA[0001] timed out")
    stack.machine.script("docker", "ps", code=1, stderr="Cannot connect to the Docker daemon")

    with pytest.raises(ObolError, match="timed out"):
        await stack.backend.up(stack.spec(), stack.lines.append)

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

    up = await stack.backend.up(stack.spec(), stack.lines.append)

    assert up.created
    assert stack.machine.clusters[NAME] is not cluster
    assert stack.machine.lines[1:5] == [f"k3d cluster delete {NAME}", *REMAINS]


async def test_made_after_all(stack: Stack) -> None:
    """A cluster that was made although we were stopped is kept."""
    cluster = stack.holds()
    stack.config.mkdir()
    (stack.config / ".k3d-being-made").write_text(NAME)

    assert not (await stack.backend.up(stack.spec(), stack.lines.append)).created
    assert stack.machine.clusters[NAME] is cluster
    assert not (stack.config / ".k3d-being-made").exists()


@pytest.mark.parametrize("marker", ["obol-stack-other\n", "\udcff"])
async def test_marker_of_others(stack: Stack, marker: str) -> None:
    """A file that names another cluster, or nothing, does not cost us ours."""
    cluster = stack.holds(runs=False)
    stack.config.mkdir()
    (stack.config / ".k3d-being-made").write_text(marker, errors="surrogateescape")

    await stack.backend.up(stack.spec(), stack.lines.append)

    assert stack.machine.clusters[NAME] is cluster


async def test_no_api(stack: Stack) -> None:
    """A cluster whose API does not answer is left as it is."""
    stack.status = None

    with pytest.raises(ObolError, match="API is not up"):
        await stack.backend.up(stack.spec(), stack.lines.append)

    assert stack.machine.clusters[NAME].servers


@pytest.mark.parametrize(
    ("block", "what"),
    [("data", "the data directory .* cannot be made"), ("config", "registries.yaml cannot be written")],
)
async def test_directories_that_are_files(stack: Stack, tmp_path: Path, block: str, what: str) -> None:
    """What cannot be written is named."""
    (tmp_path / block).write_text("")

    with pytest.raises(ObolError, match=what):
        await stack.backend.up(stack.spec(), stack.lines.append)


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
    await stack.backend.up(stack.spec(), stack.lines.append)
    stack.machine.script("k3d", "cluster", "delete", code=1, stderr="FATA[0000] it does not want to")
    stack.machine.script("docker", "ps", stdout='{"ID":"c1"}\n')
    stack.machine.script("docker", "container", "inspect", stdout=CONTAINER)

    with pytest.raises(ObolError, match="could not remove the cluster: it does not want to"):
        await stack.backend.purge(ID, images=False)

    assert (stack.config / "kubeconfig.yaml").exists()
