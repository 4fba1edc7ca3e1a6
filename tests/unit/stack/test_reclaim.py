import json

import pytest

from obol.machine.docker.cli import Docker
from obol.machine.docker.values import Container, Network, read_containers, read_networks
from obol.stack.reclaim import Foreign, Leaked, LeakedNetworks, NeededNetwork, Reclaimed, Verdict, judge
from tests.fakes.docker import Json, all_containers, all_networks
from tests.fakes.docker import container as container_json
from tests.fakes.docker import network as network_json
from tests.fakes.runner import FakeRunner

NAME = "k3d-obol-stack-x"
CACHE = "k3d-obol-docker-io.localhost"
REGISTRY = {"app": "k3d", "k3d.role": "registry", "k3d.cluster": ""}


def network(attached: dict[str, str] | None = None) -> Network:
    """The network in question."""
    return read_networks(json.dumps([network_json(NAME, id_="n1", attached=attached)]))[0]


def on_it(name: str, *, status: str = "running", labels: dict[str, str] | None = None) -> Container:
    """A container on it."""
    found = container_json(name, status=status, labels=labels, networks={NAME: "n1", "bridge": "n0"})
    return read_containers(json.dumps([found]))[0]


def node(name: str, *, status: str = "running", role: str = "server") -> Container:
    """A container of a cluster on it."""
    return on_it(name, status=status, labels={"k3d.cluster": "x", "k3d.role": role})


def cache(name: str = CACHE, *, status: str = "running") -> Container:
    """A cache on it."""
    return on_it(name, status=status, labels=REGISTRY)


@pytest.mark.parametrize(
    ("containers", "verdict"),
    [
        ([], Leaked(())),
        ([cache()], Leaked((CACHE,))),
        ([on_it(f"{NAME}-serverlb")], NeededNetwork(f"{NAME}-serverlb")),
        ([on_it(f"{NAME}-server-0")], NeededNetwork(f"{NAME}-server-0")),
        ([on_it(f"{NAME}-server-12")], NeededNetwork(f"{NAME}-server-12")),
        ([on_it("a-agent-3")], NeededNetwork("a-agent-3")),
        *(([on_it(name)], Foreign((name,))) for name in ("unrelated-server-foo", "a-server-", "a-serverlb-x")),
        ([cache(), on_it(f"{NAME}-server-0")], NeededNetwork(f"{NAME}-server-0")),
    ],
)
def test_liveness(containers: list[Container], verdict: Verdict) -> None:
    """The cases of the original system hold; only what is foreign is left alone instead of cut off."""
    assert judge(network(), containers) == verdict


@pytest.mark.parametrize(
    ("containers", "verdict"),
    [
        ([node(f"{NAME}-server-0", status="exited")], NeededNetwork(f"{NAME}-server-0")),
        ([node(f"{NAME}-tools", role="noRole")], NeededNetwork(f"{NAME}-tools")),
        ([on_it("db"), node(f"{NAME}-server-0", status="exited")], NeededNetwork(f"{NAME}-server-0")),
        ([on_it("db", status="exited"), on_it("app")], Foreign(("app", "db"))),
        ([cache(), on_it("db")], Foreign(("db",))),
        ([cache(status="exited"), cache("k3d-obol-local.localhost")], Leaked((CACHE, "k3d-obol-local.localhost"))),
        ([cache("k3d-registry.localhost")], Foreign(("k3d-registry.localhost",))),
        ([on_it(CACHE)], Foreign((CACHE,))),
    ],
)
def test_stopped_and_foreign(containers: list[Container], verdict: Verdict) -> None:
    """A stopped cluster needs its network; registries that are not ours are foreign, whatever their label or name."""
    assert judge(network(), containers) == verdict


def test_wanted_by_label() -> None:
    """A node that is off its network at the moment still needs it, and a node of another network does not."""
    labels = {"k3d.cluster": "x", "k3d.cluster.network": NAME}
    away = read_containers(json.dumps([container_json("n", status="exited", labels=labels)]))[0]
    elsewhere = read_containers(json.dumps([container_json("m", labels={"k3d.cluster": "y"}, networks={"o": "n2"})]))[0]

    assert judge(network(), [away]) == NeededNetwork("n")
    assert judge(network(), [elsewhere]) == Leaked(())


def test_attached_and_unknown() -> None:
    """Who came after the containers were listed is told by name: a node needs it, all others are not ours."""
    assert judge(network({"c1": f"{NAME}-serverlb"}), []) == NeededNetwork(f"{NAME}-serverlb")
    assert judge(network({"c1": "db"}), []) == Foreign(("db",))
    assert judge(network({cache().id: CACHE}), [cache()]) == Leaked((CACHE,))


def leaked(runner: FakeRunner, *extra: Json) -> LeakedNetworks:
    """Two networks that are leaked, one with a cache on it, and more."""
    listed = [network_json(f"k3d-obol-stack-{name}", id_=f"id-{name}") for name in ("one", "two")]
    all_networks(runner, *listed, *extra)
    stack = {"k3d-obol-stack-one": "id-one", "bridge": "n0"}
    all_containers(runner, container_json(CACHE, labels=REGISTRY, networks=stack))
    return LeakedNetworks(Docker(runner))


async def test_freed() -> None:
    """Leaked networks are listed by an anchored name, caches are taken off them, and they are removed by their IDs."""
    runner = FakeRunner()

    found = await leaked(runner, network_json("my-k3d-obol-stack-x")).free()

    assert found == Reclaimed(("k3d-obol-stack-one", "k3d-obol-stack-two"))
    assert [line for line in runner.lines if " inspect " not in line] == [
        "docker network ls --no-trunc --filter name=^k3d-obol-stack- --format {{json .}}",
        "docker ps --all --no-trunc --format {{json .}}",
        f"docker network disconnect id-one {CACHE}",
        "docker network rm id-one",
        "docker network rm id-two",
    ]


async def test_needed_and_foreign() -> None:
    """What is needed is not spoken of; what others are on is named."""
    runner = FakeRunner()
    names = [f"k3d-obol-stack-{name}" for name in ("live", "others")]
    all_networks(runner, *(network_json(name, id_=name) for name in names))
    all_containers(
        runner,
        container_json(f"{names[0]}-server-0", status="exited", networks={names[0]: names[0]}),
        container_json("db", networks={names[1]: names[1]}),
        container_json("app", networks={names[1]: names[1]}),
    )

    found = await LeakedNetworks(Docker(runner)).free()

    assert found == Reclaimed((), ("The Docker network k3d-obol-stack-others is left: app and db are on it.",))
    assert not any(word in line for line in runner.lines for word in (" rm ", "disconnect"))

    assert await LeakedNetworks(Docker(runner)).reclaim() == ()
    assert await LeakedNetworks(Docker(runner), verbose=True).reclaim() == found.left


async def test_removal_fails() -> None:
    """A network that Docker does not let go is left, and no other one for it; a failed disconnection is no matter."""
    runner = FakeRunner()
    networks = leaked(runner)
    runner.script("docker", "network", "disconnect", code=1, stderr="who knows")
    runner.script("docker", "network", "rm", "id-one", code=1, stderr="network has active endpoints")

    found = await networks.free()

    assert found.freed == ("k3d-obol-stack-two",)
    assert "active endpoints" in found.left[0]


@pytest.mark.parametrize(
    "runner", [FakeRunner(missing={"docker"}), FakeRunner()], ids=["no docker", "nothing that is understood"]
)
async def test_trouble_is_no_error(runner: FakeRunner) -> None:
    """Without Docker, or with one that fails, nothing is done and nothing is raised."""
    runner.script("docker", code=1, stderr="Cannot connect to the Docker daemon")

    found = await LeakedNetworks(Docker(runner)).free()

    assert found.freed == ()
    assert "obol could not look at Docker's networks" in found.left[0]
    assert await LeakedNetworks(Docker(runner)).reclaim() == ()


async def test_one_line() -> None:
    """A person gets one line, with how many there were."""
    assert await leaked(FakeRunner()).reclaim() == (
        "Removed 2 Docker networks that were left behind by former clusters.",
    )
    runner = FakeRunner()
    all_networks(runner, network_json(NAME))
    all_containers(runner)
    assert await LeakedNetworks(Docker(runner)).reclaim() == (
        "Removed a Docker network that was left behind by former clusters.",
    )


async def test_none_at_all() -> None:
    """Where there is no such network, containers are not looked at."""
    runner = FakeRunner()

    assert await LeakedNetworks(Docker(runner)).free() == Reclaimed()
    assert len(runner.lines) == 1
