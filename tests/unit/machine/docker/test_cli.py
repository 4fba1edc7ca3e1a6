import json
from collections.abc import Awaitable, Callable

import pytest

from obol.errors import DependencyMissing, PortTaken
from obol.machine.docker.cli import ContainerSpec, Docker
from obol.machine.docker.errors import DockerAbsent, DockerFailed, DockerForbidden, DockerNotRunning, NoAddressPool
from obol.machine.docker.values import Image, Pushed
from tests.fakes.docker import absent, all_containers, all_networks, container, network, there
from tests.fakes.runner import FakeRunner

JSON = "--format {{json .}}"


@pytest.fixture
def runner() -> FakeRunner:
    """What the docker command line runs on."""
    return FakeRunner()


@pytest.fixture
def docker(runner: FakeRunner) -> Docker:
    """The unit under test."""
    return Docker(runner)


async def test_version(docker: Docker, runner: FakeRunner) -> None:
    """Both versions are asked for at once, within a limit."""
    runner.script("docker", "version", stdout='{"Client":{"Version":"28.2.2"},"Server":{"Version":"27.0.1"}}')

    found = await docker.version()

    assert (found.client, found.server) == ("28.2.2", "27.0.1")
    assert runner.lines == [f"docker version {JSON}"]
    assert runner.ran[0].timeout == 10


async def test_client_alone(docker: Docker, runner: FakeRunner) -> None:
    """A client that has nobody to talk to means that Docker does not run, whatever the exit code."""
    runner.script("docker", "version", stdout='{"Client":{"Version":"28.2.2"},"Server":null}')
    runner.script("docker", "info", stdout='{"ServerErrors":["Cannot connect to the Docker daemon"]}')

    with pytest.raises(DockerNotRunning):
        await docker.version()
    with pytest.raises(DockerNotRunning):
        await docker.info()


async def test_not_installed() -> None:
    """Without the program, the person is told what to install."""
    with pytest.raises(DependencyMissing, match="Docker is not installed") as caught:
        await Docker(FakeRunner(missing={"docker"})).info()

    assert "https://" in caught.value.hint


async def test_forbidden(docker: Docker, runner: FakeRunner) -> None:
    """A socket that is not ours is another matter than a daemon that does not run."""
    runner.script("docker", code=1, stderr="permission denied while trying to connect to the Docker daemon socket")

    with pytest.raises(DockerForbidden) as caught:
        await docker.info()

    assert "usermod" in caught.value.hint


async def test_info(docker: Docker, runner: FakeRunner) -> None:
    """The daemon tells where it runs."""
    runner.script("docker", "info", stdout='{"ServerVersion":"27.0","OperatingSystem":"Docker Desktop"}')

    assert (await docker.info()).desktop


async def test_networks(docker: Docker, runner: FakeRunner) -> None:
    """Networks are listed by filters, and then looked at by their IDs."""
    all_networks(runner, network("obol-net", id_="n1"))

    found = await docker.networks(name="^obol-net$", label="obol.network")

    assert [one.name for one in found] == ["obol-net"]
    assert runner.lines == [
        f"docker network ls --no-trunc --filter name=^obol-net$ --filter label=obol.network {JSON}",
        "docker network inspect n1",
    ]


async def test_nothing_listed(docker: Docker, runner: FakeRunner) -> None:
    """Where nothing is listed, nothing is looked at."""
    assert await docker.networks() == ()
    assert runner.lines == [f"docker network ls --no-trunc {JSON}"]


async def test_one_went_away(docker: Docker, runner: FakeRunner) -> None:
    """What is removed between the listing and the look is left out."""
    runner.script("docker", "ps", stdout='{"ID":"a"}\n{"ID":"b"}\n')
    there_still = json.dumps([container("b")])
    runner.script("docker", "container", code=1, stdout=there_still, stderr="Error: No such container: a")

    assert [one.name for one in await docker.containers()] == ["b"]


async def test_single_look(docker: Docker, runner: FakeRunner) -> None:
    """One thing is looked at by its name; that it is not there is an answer, and other trouble is not."""
    there(runner, "container", container("c"))
    absent(runner, "container", "x")
    runner.script("docker", "container", "inspect", "y", code=1, stdout="[]", stderr="the daemon is on fire")

    assert await docker.container("c") is not None
    assert await docker.container("x") is None
    with pytest.raises(DockerFailed, match="on fire"):
        await docker.container("y")


async def test_network_changes(docker: Docker, runner: FakeRunner) -> None:
    """Networks are made with labels, joined, left and removed."""
    runner.script("docker", "network", "create", stdout="n1\n")

    assert await docker.create_network("obol-net", labels={"obol.network": "shared"}) == "n1"
    await docker.connect("n1", "c")
    assert await docker.disconnect("n1", "c")
    assert await docker.remove_network("n1")
    assert runner.lines == [
        "docker network create --label obol.network=shared obol-net",
        "docker network connect n1 c",
        "docker network disconnect n1 c",
        "docker network rm n1",
    ]
    assert {ran.timeout for ran in runner.ran} == {60}


async def test_gone_already(docker: Docker, runner: FakeRunner) -> None:
    """To remove what is not there is no error, and neither is to leave a network that one is not on."""
    runner.script("docker", code=1, stderr="Error: No such thing: x not found")
    runner.script("docker", "network", "disconnect", code=1, stderr="container c is not connected to the network n")

    assert not await docker.remove_network("x")
    assert not await docker.remove_container("x")
    assert not await docker.stop("x")
    assert not await docker.disconnect("n", "c")


async def test_disconnect_fails(docker: Docker, runner: FakeRunner) -> None:
    """Other trouble with leaving a network is told."""
    runner.script("docker", "network", "disconnect", code=1, stderr="no way")

    with pytest.raises(DockerFailed, match="no way"):
        await docker.disconnect("n", "c")


async def test_no_pool(docker: Docker, runner: FakeRunner) -> None:
    """An exhausted pool is an error of its own."""
    runner.script("docker", code=1, stderr="all predefined address pools have been fully subnetted")

    with pytest.raises(NoAddressPool):
        await docker.create_network("x")


async def test_containers(docker: Docker, runner: FakeRunner) -> None:
    """Containers are listed in whichever state, by labels and network; those that publish a port while they run."""
    all_containers(runner, container("a"))

    await docker.containers(labels=("app=k3d", "k3d.cluster"), network="n1")
    await docker.publishing(54100)

    inspected = "docker container inspect id-of-a"
    assert runner.lines == [
        "docker ps --all --no-trunc --filter label=app=k3d --filter label=k3d.cluster --filter network=n1 " + JSON,
        inspected,
        f"docker ps --no-trunc --filter publish=54100 {JSON}",
        inspected,
    ]


async def test_run(docker: Docker, runner: FakeRunner) -> None:
    """A container is made of what its description says, in an order that does not change; no image is pulled for it."""
    runner.script("docker", "run", stdout="c1\n")
    spec = ContainerSpec(
        "cache",
        "registry:3",
        network="obol-net",
        publish=("127.0.0.1:1:5000",),
        volumes=("/d:/v:z",),
        environment={"A": "b"},
        labels={"app": "k3d", "empty": ""},
        restart="unless-stopped",
    )

    assert await docker.run(spec) == "c1"
    await docker.run(ContainerSpec("bare", "image"))
    assert runner.lines[0] == (
        "docker run --detach --pull never --name cache --network obol-net --restart unless-stopped "
        "--publish 127.0.0.1:1:5000 --volume /d:/v:z --env A=b --label app=k3d --label empty= registry:3"
    )
    assert runner.lines[1] == "docker run --detach --pull never --name bare image"


async def test_taken_port(docker: Docker, runner: FakeRunner) -> None:
    """A taken port is told apart, and neither the environment nor labels show in an error."""
    runner.script("docker", "run", code=125, stderr="docker: Bind for 127.0.0.1:1 failed: port is already allocated.")

    with pytest.raises(PortTaken, match="`docker run` failed: Bind for") as caught:
        await docker.run(ContainerSpec("x", "image", environment={"A": "secret"}))

    assert "secret" not in str(caught.value)


async def test_run_once(docker: Docker, runner: FakeRunner) -> None:
    """Any exit code of a program is an answer; that Docker cannot be used is not."""
    runner.script("docker", "run", code=1, stderr="wget: timed out")
    runner.script("docker", "run", code=125, stderr="Cannot connect to the Docker daemon")

    assert (await docker.run_once("image", ("-q",), options=("--entrypoint", "wget"))).code == 1
    with pytest.raises(DockerNotRunning):
        await docker.run_once("image", ())
    assert runner.lines[0] == "docker run --rm --entrypoint wget image -q"


async def test_container_changes(docker: Docker, runner: FakeRunner) -> None:
    """Containers are started, stopped, and removed."""
    await docker.start("c")
    await docker.stop("c")
    await docker.remove_container("c")
    await docker.remove_container("c", force=True)

    assert runner.lines == [
        "docker start c",
        "docker stop c",
        "docker rm c",
        "docker rm --force c",
    ]


async def test_logs(docker: Docker, runner: FakeRunner) -> None:
    """The log is what was written to both streams, without colours."""
    runner.script("docker", "logs", stdout="a\n", stderr="\x1b[31mb\x1b[0m\n")

    assert await docker.logs("c", lines=5) == "a\nb\n"
    assert runner.lines == ["docker logs --tail 5 c"]


async def test_has_image(docker: Docker, runner: FakeRunner) -> None:
    """Whether an image is there is asked without pulling it."""
    runner.script("docker", "image", code=0, stdout="sha256:1")
    runner.script("docker", "image", code=1, stderr="Error: No such image: x")
    runner.script("docker", "image", code=1, stderr="on fire")

    assert await docker.has_image("x")
    assert not await docker.has_image("x")
    with pytest.raises(DockerFailed, match="on fire"):
        await docker.has_image("x")
    assert runner.lines[0] == "docker image inspect --format {{.Id}} x"


async def test_image(docker: Docker, runner: FakeRunner) -> None:
    """An image is looked at by its name; one that is not there is None."""
    runner.script("docker", "image", "inspect", "app:dev", stdout='[{"Id":"sha256:0a","RepoTags":["app:dev"]}]')
    runner.script("docker", "image", "inspect", code=1, stdout="[]", stderr="Error: No such image: other")

    assert await docker.image("app:dev") == Image("sha256:0a", ("app:dev",))
    assert await docker.image("other") is None


async def test_push(docker: Docker, runner: FakeRunner) -> None:
    """A push tells how many layers were sent, and may take as long as a pull."""
    runner.script("docker", "push", stdout="0123456789ab: Pushed\n")

    assert await docker.push("localhost:54103/app:1") == Pushed(1, 0)
    assert runner.lines == ["docker push localhost:54103/app:1"]
    assert runner.ran[0].timeout == 1800


async def test_push_fails(docker: Docker, runner: FakeRunner) -> None:
    """A registry that does not answer is an error with Docker's words."""
    runner.script("docker", "push", code=1, stderr="dial tcp 127.0.0.1:54103: connect: connection refused\n")

    with pytest.raises(DockerFailed, match=r"`docker push` failed: .*connection refused"):
        await docker.push("localhost:54103/app:1")


async def test_untag(docker: Docker, runner: FakeRunner) -> None:
    """A name that is not there is no error."""
    runner.script("docker", "rmi")
    runner.script("docker", "rmi", code=1, stderr="Error: No such image: x")

    assert await docker.untag("x")
    assert not await docker.untag("x")


THROUGH = "127.0.0.1:54100/library/registry:3"


async def test_fetch_through(docker: Docker, runner: FakeRunner) -> None:
    """An image that is missing is pulled through the mirror and gets its own name, and only that."""
    runner.script("docker", "image", code=1, stderr="Error: No such image: registry:3")

    await docker.fetch("registry:3", through=THROUGH)

    assert runner.lines[1:] == [
        f"docker pull --quiet {THROUGH}",
        f"docker tag {THROUGH} registry:3",
        f"docker rmi {THROUGH}",
    ]
    assert runner.ran[1].timeout == 1800


async def test_fetch_directly(docker: Docker, runner: FakeRunner) -> None:
    """Where the mirror does not help, Docker pulls by itself; what is there is not pulled."""
    runner.script("docker", "image", code=1, stderr="Error: No such image: registry:3")
    runner.script("docker", "image", code=0)
    runner.script("docker", "pull", "--quiet", THROUGH, code=1, stderr="connection refused")

    await docker.fetch("registry:3", through=THROUGH)
    await docker.fetch("registry:3", through=THROUGH)

    assert [line for line in runner.lines if "inspect" not in line] == [
        f"docker pull --quiet {THROUGH}",
        "docker pull --quiet registry:3",
    ]


async def test_fetch_fails(docker: Docker, runner: FakeRunner) -> None:
    """An image that nobody has is an error."""
    runner.script("docker", "image", code=1, stderr="Error: No such image: x")
    runner.script("docker", "pull", code=1, stderr="manifest for x not found")

    with pytest.raises(DockerAbsent):
        await docker.fetch("x")


@pytest.mark.parametrize("ask", [Docker.version, Docker.info])
async def test_strange_answer(docker: Docker, runner: FakeRunner, ask: Callable[[Docker], Awaitable[object]]) -> None:
    """An answer that is not understood is an error that says which command gave it."""
    runner.script("docker", stdout="what?")

    with pytest.raises(DockerFailed, match=r"`docker (version|info)` answers in a way"):
        await ask(docker)


async def test_what_may_be_shown() -> None:
    """A pull goes to the loud runner, with its progress; all else does not."""
    quiet, loud = FakeRunner(), FakeRunner()
    loud.script("docker", "pull", "absent", code=1, stderr="Error response from daemon: manifest unknown")
    docker = Docker(quiet, loud)

    await docker.pull("alpine")
    await docker.tag("alpine", "other")

    assert (loud.lines, quiet.lines) == (["docker pull alpine"], ["docker tag alpine other"])
    with pytest.raises(DockerFailed):
        await docker.pull("absent")
