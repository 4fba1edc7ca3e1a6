import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from obol.errors import StoreUnusable
from obol.registry.control.api import (
    Amount,
    EngineStatus,
    HeldImage,
    HeldPlatform,
    ImageProgress,
    Inventory,
    Listener,
    ProgressRequest,
    ProgressStatus,
)
from obol.registry.control.openports import Measuring
from obol.registry.control.server import ControlServer, Views
from obol.registry.store.ports import StoreError
from tests.fakes.http import request
from tests.unit.registry.server.serving import Serving, serving

PLATFORM = HeldPlatform("linux/amd64", "sha256:1", "complete", 3, 0, 0)
INVENTORY = Inventory((HeldImage("docker.io", "a", ("1",), "sha256:2", True, 5, 0, 0, None, (PLATFORM,)),))
PROGRESS = ProgressStatus(42, (ImageProgress("a:1", 10, 5, 4, 10, 5, 1),), ())
STATUS = EngineStatus("0.1", 42, "/store", 1.5, False, (), Amount(1, 2), Amount(0, 0), ())


@dataclass
class Controlled:
    """An engine with a control socket."""

    serving: Serving
    path: Path
    control: ControlServer
    stops: list[bool] = field(default_factory=list)
    problems: list[StoreError] = field(default_factory=list)
    """What taking the inventory meets."""

    async def ask(self, method: str, path: str, data: bytes | dict[str, Any] | None = None) -> tuple[int, Any]:
        """One request on the socket: the status, and the JSON of the answer."""
        body = {"json": data} if isinstance(data, dict) else {"data": data}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.path))) as client,
            client.request(method, f"http://localhost{path}", **body) as response,
        ):
            return response.status, await response.json()


@asynccontextmanager
async def controlled(path: Path) -> AsyncIterator[Controlled]:
    """Build one."""

    async def status() -> EngineStatus:
        return STATUS

    problems: list[StoreError] = []

    async def images() -> Inventory:
        if problems:
            raise problems[0]
        return INVENTORY

    async def progress(wanted: ProgressRequest) -> ProgressStatus:
        if problems:
            raise problems[0]
        if wanted.platforms == ("nonsense",):
            raise ValueError("it is no platform")
        assert wanted == ProgressRequest(("a:1",), ("linux/amd64",))
        return PROGRESS

    async with serving() as s:
        stops: list[bool] = []
        engine = s.world.engine
        measuring = Measuring(engine.open_account, engine.accounts, s.listeners, engine.clock, lambda _pid: True)
        control = ControlServer(
            Views(status, images, progress),
            partial(s.listeners.add, absent_address=True),
            frozenset({"registry.test"}),
            lambda: stops.append(True),
            measuring,
        )
        await control.start(path)
        try:
            yield Controlled(s, path, control, stops, problems)
        finally:
            await control.close()
            await measuring.end()


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Controlled]:
    """What is tested."""
    async with controlled(tmp_path / "control.sock") as built:
        yield built


def wanted(port: int = 0, registry: str = "registry.test", address: str = "127.0.0.1") -> dict[str, Any]:
    """A port as the command line names it."""
    return {"registry": registry, "address": address, "port": port}


async def test_status(one: Controlled) -> None:
    """The status is told as it is."""
    code, told = await one.ask("GET", "/status")

    assert code == 200
    assert (told["version"], told["pid"], told["content"]) == ("0.1", 42, {"count": 1, "size": 2})


async def test_images(one: Controlled) -> None:
    """The images are told as they are; where the index cannot be read, that is told in words."""
    code, told = await one.ask("GET", "/images")

    assert code == 200
    assert [(image["repository"], image["platforms"][0]["state"]) for image in told["images"]] == [("a", "complete")]

    one.problems.append(StoreError("the disk is gone"))
    assert await one.ask("GET", "/images") == (503, {"error": "the disk is gone"})


async def test_progress(one: Controlled) -> None:
    """How far images are is told as it is; a question that makes no sense, or a failing disk, in words."""
    code, told = await one.ask("POST", "/progress", {"images": ["a:1"], "platforms": ["linux/amd64"]})

    assert code == 200
    assert (told["pid"], told["images"][0]["present"], told["transfers"]) == (42, 5, [])
    assert await one.ask("POST", "/progress", {"images": [], "platforms": ["nonsense"]}) == (
        400,
        {"error": "it is no platform"},
    )
    assert (await one.ask("POST", "/progress", b"{"))[0] == 400
    one.problems.append(StoreError("the disk is gone"))
    assert (await one.ask("POST", "/progress", {"images": []}))[0] == 503


async def test_only_for_the_owner(one: Controlled) -> None:
    """Nobody but the owner may open the socket."""
    assert stat.S_IMODE(one.path.stat().st_mode) == 0o600


async def test_listeners(one: Controlled) -> None:
    """A port is opened, and told with its real number."""
    code, opened = await one.ask("POST", "/listeners", wanted())
    assert code == 200
    assert (await request(opened["port"], "GET", "/v2/")).status == 200


async def test_open_again(one: Controlled) -> None:
    """Asking for a port that is open already changes nothing."""
    _, opened = await one.ask("POST", "/listeners", wanted())

    assert await one.ask("POST", "/listeners", opened) == (200, opened)


async def test_absent_address(one: Controlled) -> None:
    """A later port may be on an address that is not there, or not any more: that of a Docker bridge."""
    assert (await one.ask("POST", "/listeners", wanted(address="192.0.2.1")))[0] == 200


async def test_port_taken(one: Controlled) -> None:
    """A port that somebody else holds is told as a conflict, in words."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, told = await one.ask("POST", "/listeners", wanted(other.getsockname()[1]))

    assert code == 409
    assert "cannot listen" in told["error"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"registry":"registry.test"}',
        wanted(registry="evil.test"),
        wanted(70_000),
        wanted(-1),
        wanted(address="localhost"),
        wanted(address=""),
    ],
)
async def test_bad_listeners(one: Controlled, data: bytes | dict[str, Any]) -> None:
    """What is no port, address or served registry is refused, and nothing changes."""
    before = one.serving.listeners.list()

    code, told = await one.ask("POST", "/listeners", data)

    assert (code, list(told)) == (400, ["error"])
    assert one.serving.listeners.list() == before


async def test_stop(one: Controlled) -> None:
    """The order to stop is answered, then carried out."""
    assert await one.ask("POST", "/stop") == (202, {"stopping": True})
    await asyncio.sleep(0)

    assert one.stops == [True]


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/status"), ("GET", "/stop"), ("GET", "/v2/")])
async def test_nothing_else(one: Controlled, method: str, path: str) -> None:
    """Nothing else is there."""
    assert (await one.ask(method, path))[0] == 404
    assert one.stops == []


async def test_left_behind(tmp_path: Path) -> None:
    """A socket that a dead process left is replaced; at the end none is left."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async with controlled(path) as one:
        assert (await one.ask("GET", "/status"))[0] == 200

    assert not path.exists()


async def test_removed_meanwhile(tmp_path: Path) -> None:
    """That somebody removed the socket is no trouble at the end."""
    path = tmp_path / "control.sock"
    async with controlled(path):
        path.unlink()


async def test_path_too_long(tmp_path: Path) -> None:
    """A path that no unix socket can have is told in words, not as a traceback."""
    with pytest.raises(StoreUnusable, match="too long") as problem:
        async with controlled(tmp_path / ("x" * 110)):
            pass

    assert "shorter path" in problem.value.hint


async def test_no_directory(tmp_path: Path) -> None:
    """So is a place where no socket can be."""
    with pytest.raises(StoreUnusable):
        async with controlled(tmp_path / "absent" / "s"):
            pass


async def test_close_before_start() -> None:
    """What was never opened can be closed."""

    async def status() -> EngineStatus:
        return STATUS

    async def images() -> Inventory:
        return INVENTORY

    async def progress(_wanted: ProgressRequest) -> ProgressStatus:
        return PROGRESS

    async with serving() as s:
        engine = s.world.engine
        measuring = Measuring(engine.open_account, engine.accounts, s.listeners, engine.clock)
        await ControlServer(
            Views(status, images, progress), s.listeners.add, frozenset(), lambda: None, measuring
        ).close()


async def test_no_settings_of_others(one: Controlled) -> None:
    """A port that was opened is one of the engine's own list."""
    _, opened = await one.ask("POST", "/listeners", wanted())

    assert Listener("registry.test", "127.0.0.1", opened["port"]) in one.serving.listeners.list()


async def test_accounts(one: Controlled) -> None:
    """An account is opened with a port, tells what was given there, and is closed."""
    code, opened = await one.ask("POST", "/accounts", {"owner": 1, "listeners": [wanted()]})
    assert (code, opened["whole"], opened["given"]) == (200, True, [])
    (own,) = opened["listeners"]
    assert (await request(own["port"], "GET", "/v2/")).status == 200

    assert await one.ask("DELETE", f"/accounts/{opened['name']}") == (200, opened)
    assert (await one.ask("DELETE", f"/accounts/{opened['name']}"))[0] == 404


@pytest.mark.parametrize(
    "bad", [b"", b"{}", b'{"owner": "me", "listeners": []}', {"owner": 1, "listeners": [wanted(registry="x")]}]
)
async def test_an_account_that_cannot_be(one: Controlled, bad: bytes | dict[str, Any]) -> None:
    """What is no request for an account opens none."""
    assert (await one.ask("POST", "/accounts", bad))[0] == 400
    assert not one.serving.world.engine.accounts.running


async def test_too_many_accounts(one: Controlled) -> None:
    """Beyond the limit an account is refused."""
    for _ in range(16):
        assert (await one.ask("POST", "/accounts", {"owner": 1, "listeners": []}))[0] == 200
    assert (await one.ask("POST", "/accounts", {"owner": 1, "listeners": []}))[0] == 409
