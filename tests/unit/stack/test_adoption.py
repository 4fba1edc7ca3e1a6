import asyncio
from pathlib import Path

import pytest

from obol.errors import ObolError
from obol.machine.docker.cli import Docker
from obol.stack import adoption
from obol.stack.adoption import Clusters, look, settle
from obol.stack.home import Identity, NameLost
from tests.fakes import docker as fake
from tests.fakes.runner import FakeRunner

CONFIG = Path("/home/me/.config/obol")
CALM, NEWT = Identity("calm-otter", "k3d"), Identity("brave-newt", "k3d")
LOST = NameLost(CONFIG / ".stack-id", "it is empty", "k3d")


def node(stack: str, mark: str | None = None, data: Path | None = None) -> fake.Json:
    """A node of a cluster of ours; without a mark it is of an earlier version."""
    labels = {"app": "k3d", "obol.cluster-id": stack} | ({} if mark is None else {"obol.home": mark})
    found = fake.container(f"k3d-obol-stack-{stack}-server-0", labels=labels)
    found["Mounts"] = [{"Source": str(data), "Destination": "/data"}] if data else []
    return found


async def looked(*nodes: fake.Json, data: Path = Path("/nowhere")) -> Clusters:
    """What is found of these."""
    runner = FakeRunner()
    fake.all_containers(runner, *nodes)
    return await look(Docker(runner), CONFIG, data, "ours")


async def test_marked() -> None:
    """A cluster is this directory's by its mark; those of other directories are known too."""
    found = await looked(node("calm-otter", "ours"), node("calm-otter", "ours"), node("brave-newt", "theirs"))

    assert found == Clusters(("calm-otter",), frozenset({"brave-newt"}))


async def test_of_an_earlier_version(tmp_path: Path) -> None:
    """A cluster without a mark is this directory's if it sees the data directory that was made for it."""
    nodes = (node("calm-otter", data=tmp_path), node("brave-newt", data=Path("/data")), node("odd-cat", "x", tmp_path))
    assert (await looked(*nodes, data=tmp_path)).here == ()

    (tmp_path / ".obol-stack").write_text(f"{CONFIG}\n")

    assert (await looked(*nodes, data=tmp_path)).here == ("calm-otter",)


async def test_no_docker() -> None:
    """Where Docker cannot be asked, nothing is found."""
    runner = FakeRunner(missing={"docker"})

    assert await look(Docker(runner), CONFIG, Path("/data"), "ours") == Clusters()


async def test_a_docker_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Docker that does not answer in time keeps nobody from going on."""

    async def containers(_self: Docker, *, labels: tuple[str, ...]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(adoption, "LOOK_WITHIN", 0.0)
    monkeypatch.setattr(Docker, "containers", containers)

    assert await look(Docker(FakeRunner()), CONFIG, Path("/data"), "ours") == Clusters()


@pytest.mark.parametrize("here", [(), ("calm-otter",)])
def test_as_written(here: tuple[str, ...]) -> None:
    """What is written holds as long as it is the name of a cluster, or there is none at all."""
    assert settle(CALM, Clusters(here), CONFIG) == (CALM, "")


@pytest.mark.parametrize(
    ("here", "elsewhere", "told"),
    [
        (("brave-newt", "calm-otter"), (), "The cluster obol-stack-brave-newt was made for this stack's directory too"),
        (("brave-newt",), ("calm-otter",), "The cluster obol-stack-brave-newt was made for this stack's directory too"),
        (("brave-newt", "calm-otter", "odd-cat"), (), "The clusters obol-stack-brave-newt, obol-stack-odd-cat were"),
    ],
)
def test_too_many_clusters(here: tuple[str, ...], elsewhere: tuple[str, ...], told: str) -> None:
    """A cluster of the same directory that bears another name is named, or nobody would find it."""
    identity, line = settle(CALM, Clusters(here, frozenset(elsewhere)), CONFIG)

    assert identity == CALM
    assert line.startswith(told)
    assert "`k3d cluster delete obol-stack-brave-newt" in line


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (None, f"there is no {CONFIG}/.stack-id"),
        (LOST, "it is empty"),
        (NEWT, ".stack-id names brave-newt, of which there is no cluster"),
    ],
)
def test_adopted(written: Identity | NameLost | None, why: str) -> None:
    """The only cluster that was made for the directory is its stack's, and the person is told why."""
    line = f"The cluster obol-stack-calm-otter is this stack's, and is used again: {why}."

    assert settle(written, Clusters(("calm-otter",)), CONFIG) == (CALM, line)


@pytest.mark.parametrize("written", [None, LOST, Identity("odd-cat", "k3d")])
def test_several(written: Identity | NameLost | None) -> None:
    """Of several clusters none is chosen: they are named, with the way to choose."""
    with pytest.raises(ObolError, match="obol-stack-brave-newt and obol-stack-calm-otter") as told:
        settle(written, Clusters(("brave-newt", "calm-otter")), CONFIG)

    assert f"`echo brave-newt > {CONFIG}/.stack-id`" in told.value.hint


def test_nothing_there() -> None:
    """Without a cluster there is no stack, but where the name of one was lost: that stays an error."""
    assert settle(None, Clusters(elsewhere=frozenset({"brave-newt"})), CONFIG) == (None, "")
    with pytest.raises(NameLost):
        settle(LOST, Clusters(), CONFIG)
