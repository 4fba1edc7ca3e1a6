"""The state of a stack and the client files that commit 993f789 wrote are known to today's commands."""

from pathlib import Path

import pytest

from obol.stack.home import Home, Identity
from obol.workloads.sources import packaged
from tests.e2e.person import Person
from tests.migration.written import CLIENTS, CONFIG, DAEMON, HOME, unpack


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of the home directory."""
    return unpack(tmp_path / "home")


def test_stack(home: Path) -> None:
    """Who the stack is, how its last `up` went, and which manifests nobody changed."""
    stack = Home(home / CONFIG)

    assert stack.identity() == Identity("simple-jaguar", "podman")
    last = stack.last_up()
    assert last is not None
    assert (last.at, last.seconds, last.images) == (1.5, 2.5, ("docker.io/library/app:1",))
    assert last.mirrors == {"docker.io": "127.0.0.1:1"}
    assert stack.refresh(packaged()) == ()


@pytest.mark.parametrize("client", CLIENTS)
async def test_client_files(home: Path, client: str) -> None:
    """An undo puts back what a client had been told before."""
    person = Person(home)
    options = [option.replace(HOME, str(home)) for option in CLIENTS[client]]

    ran = await person.obol("cache", "config", client, "--undo", *options)

    assert ran.code == 0, ran.err
    left = [home / "docker", home / "buildkit", home / "containers", home / "certs.d"]
    files = {str(path.relative_to(home)) for root in left for path in root.rglob("*") if path.is_file()}
    here = options[1].removeprefix(f"{home}/")
    assert {name for name in files if name.startswith(here)} == ({here} if client == "docker" else set())
    assert (home / "docker/daemon.json").read_text() == DAEMON or client != "docker"
