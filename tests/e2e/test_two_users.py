"""Two users of one machine, each with a cache engine of their own, who want the same ports."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from obol.machine.ports import pick_free
from tests.clients.sandbox import needs_root
from tests.e2e.person import Person

ADA, BOB = 61_001, 61_002
"""Numbers that no account has."""

SYSTEM_PYTHON = "/usr/bin/python3"

_CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"

pytestmark = needs_root


@pytest.fixture
async def users() -> AsyncIterator[tuple[Person, Person]]:
    """Two, who both have a cache of docker.io on the same port; what they started is stopped in the end."""
    port = pick_free(("127.0.0.1",))
    with TemporaryDirectory(prefix="obol-") as root:
        homes = [home_of(Path(root) / name, uid) for name, uid in (("ada", ADA), ("bob", BOB))]
        async with AsyncExitStack() as leaving:
            yield (
                await leaving.enter_async_context(living_in(homes[0], ADA, port)),
                await leaving.enter_async_context(living_in(homes[1], BOB, port)),
            )


def home_of(home: Path, uid: int) -> Path:
    """Make a home that everybody may look into, as on many machines."""
    home.parent.chmod(0o755)
    home.mkdir(mode=0o755)
    os.chown(home, uid, uid)
    return home


@asynccontextmanager
async def living_in(home: Path, uid: int, port: int) -> AsyncIterator[Person]:
    """One of them."""
    upstream = {"OBOL_CACHE_UPSTREAM": "docker.io=http://127.0.0.1:9", "OBOL_CACHE_PORT": f"docker.io={port}"}
    person = Person(home, upstream, uid)
    if not await runs(person):
        # The system's own may be of the same version, and so take the same libraries.
        person.python = SYSTEM_PYTHON
        person.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if person.python == SYSTEM_PYTHON and not await runs(person):
        pytest.skip("neither this checkout's Python nor the system's runs obol for other users")
    yield person
    stopped = await person.obol("cache", "stop")
    assert stopped.code == 0, stopped.err
    assert await person.gone()


async def runs(person: Person) -> bool:
    """Whether their Python has obol and what it needs."""
    try:
        return (await person.run(person.python, "-c", "import obol.cli.main, aiohttp, msgspec")).code == 0
    except OSError:
        return False


def owner_of(pid: int) -> int:
    """Whose process it is."""
    return Path(f"/proc/{pid}").stat().st_uid


async def test_two_users(users: tuple[Person, Person]) -> None:
    """Both engines run, on ports of their own; neither user sees or stops what the other has."""
    ada, bob = users

    started = await asyncio.gather(*(one.obol("cache", "start", "-o", "json") for one in users))

    assert [one.code for one in started] == [0, 0], started
    ports = {one.told["engine"]["listeners"][0]["port"] for one in started}
    pids = {one.told["engine"]["pid"] for one in started}
    assert (len(ports), len(pids)) == (2, 2)
    assert [owner_of(one.told["engine"]["pid"]) for one in started] == [ADA, BOB]

    store = ada.home / ".local/state/obol/registry-cache/builtin"
    for path, what in ((store, "-x"), (store / "control.sock", "-r"), (store / "index.sqlite", "-r")):
        assert path.exists()
        assert (await bob.run("/usr/bin/test", what, str(path))).code == 1
    assert "PermissionError" in (await bob.run(bob.python, "-c", _CONNECT, str(store / "control.sock"))).err
    bob.environ["OBOL_REGISTRY_CACHE_DIR"] = str(store.parent)
    refused = await bob.obol("cache", "stop")
    assert refused.code == 1
    assert "Traceback" not in refused.err
    assert "obol itself failed" not in refused.err
    del bob.environ["OBOL_REGISTRY_CACHE_DIR"]
    assert (await ada.obol("cache", "status", "-o", "json")).told["running"]
