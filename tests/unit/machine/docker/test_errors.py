import pytest

from obol.errors import DependencyMissing, ObolError, PortTaken
from obol.machine.docker.errors import (
    DockerAbsent,
    DockerFailed,
    DockerForbidden,
    DockerNameTaken,
    DockerNotRunning,
    NoAddressPool,
    refused,
)

POOL_OLD = (
    "Error response from daemon: could not find an available, non-overlapping IPv4 address pool among the defaults to "
    "assign to the network"
)
POOL_NEW = "Error response from daemon: all predefined address pools have been fully subnetted"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?", DockerNotRunning),
        ("failed to connect to the docker API at unix:///x.sock; check if the path is correct", DockerNotRunning),
        ("error during connect: Get http://%2F%2F.%2Fpipe: open //./pipe/docker: not found", DockerNotRunning),
        ("permission denied while trying to connect to the Docker daemon socket at unix:///x.sock", DockerForbidden),
        ("permission denied while trying to connect to the docker API at unix:///x.sock", DockerForbidden),
        (POOL_OLD, NoAddressPool),
        (POOL_NEW, NoAddressPool),
        ("docker: Bind for 127.0.0.1:54100 failed: port is already allocated.", PortTaken),
        ("listen tcp4 127.0.0.1:54100: bind: address already in use.", PortTaken),
        ('Conflict. The container name "/x" is already in use by container "ab".', DockerNameTaken),
        ("Error response from daemon: network with name obol-net already exists", DockerNameTaken),
        ("Error: No such container: x", DockerAbsent),
        ("Error response from daemon: network nope not found", DockerAbsent),
        ("something else", DockerFailed),
        ("", DockerFailed),
    ],
)
def test_kinds(said: str, kind: type[ObolError]) -> None:
    """What went wrong is told by the words of old and new versions."""
    assert type(refused("docker x", said)) is kind


@pytest.mark.parametrize("said", ["Cannot connect to the Docker daemon", "permission denied while trying to connect"])
def test_remedies(said: str) -> None:
    """A Docker that cannot be used is a missing dependency, and says what to do."""
    problem = refused("docker info", said)

    assert isinstance(problem, DependencyMissing)
    assert "Docker" in problem.what
    assert problem.hint


def test_reason() -> None:
    """The reason is what the daemon said, without colours and without pointers at --help."""
    problem = refused(
        "docker run",
        "latest: Pulling\n\x1b[31mdocker: Error response from daemon: it is broken.\x1b[0m\nSee 'docker run --help'.\n",
    )

    assert problem.what == "`docker run` failed"
    assert problem.why == "latest: Pulling\nit is broken."


@pytest.mark.parametrize("said", [POOL_OLD, POOL_NEW])
def test_through_k3d(said: str) -> None:
    """The words of Docker are found within those of another program."""
    log = f"\x1b[31mFATA\x1b[0m[0000] docker failed to create new network 'k3d-zz': {said}"

    assert type(refused("k3d", log)) is NoAddressPool
