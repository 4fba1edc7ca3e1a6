"""HTTP with JSON on a unix socket that only its owner may open.

GET    /status      what runs and what it did (`engine.status.Status`)
GET    /images      which images are held, and what is missing of them (`engine.inventory.Inventory`)
POST   /progress    {"images", "platforms"}: how far these are on their way (`engine.progress.ProgressStatus`)
POST   /listeners   {"registry", "address", "port"}: open a port; answers with its real number
DELETE /listeners   the same: close it
POST   /accounts    {"owner": process, "listeners": […]}: count what each client is given from now on (`measuring`)
GET    /accounts/N  what account N has come to
DELETE /accounts/N  the same, and the account ends with its ports
POST   /stop        end, letting transfers under way finish within the limit
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
from aiohttp import web

from obol.errors import ObolError, StoreUnusable
from obol.machine.jsontext import json_bytes
from obol.registry.control.measuring import AccountWanted
from obol.registry.engine.progress import ProgressRequest
from obol.registry.engine.status import ListenerStatus, Status
from obol.registry.settings import ListenerSettings
from obol.registry.store.ports import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from obol.registry.control.measuring import Measuring
    from obol.registry.engine.inventory import Inventory
    from obol.registry.engine.progress import ProgressStatus

ACCOUNTS = "/accounts/"

LONGEST_PATH = 100
"""A unix socket's path may have 107 bytes on Linux and 103 on macOS."""


class Ports(Protocol):
    """The engine's open ports, as `registry.server` manages them."""

    async def add(self, wanted: ListenerSettings, *, absent_address: bool = False) -> ListenerSettings:
        """Open a port; returns it with its real number. Raises PortTaken."""
        ...

    async def drop(self, settings: ListenerSettings) -> bool:
        """Close a port; tells whether it was open."""
        ...


@dataclass(frozen=True, slots=True)
class Views:
    """What an engine tells of itself. All but the status may raise StoreError."""

    status: Callable[[], Awaitable[Status]]
    images: Callable[[], Awaitable[Inventory]]
    progress: Callable[[ProgressRequest], Awaitable[ProgressStatus]]


class Control:
    """Answers the command line."""

    def __init__(
        self,
        views: Views,
        listeners: Ports,
        registries: frozenset[str],
        stop: Callable[[], None],
        measuring: Measuring,
    ) -> None:
        self._views = views
        self._listeners = listeners
        self._registries = registries
        self._stop = stop
        self._measuring = measuring
        self._runner: web.ServerRunner | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen on `path`; a socket that a dead process left there is replaced (whoever calls holds the store's lock).

        Raises StoreUnusable.
        """
        try:
            bound = _bind(path)
        except OSError as problem:
            raise StoreUnusable(
                f"cannot listen on {path}",
                why=problem.strerror or str(problem),
                hint="choose a store with a shorter path, on a file system that allows unix sockets",
            ) from problem
        self._path = path
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await self._runner.setup()
        await web.SockSite(self._runner, bound).start()

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, request.path:
            case "GET", "/status":
                return _json(await self._views.status())
            case "GET", "/images":
                return await self._list_images()
            case "POST", "/listeners":
                return await self._change(request, self._open)
            case "DELETE", "/listeners":
                return await self._change(request, self._drop)
            case "POST", "/stop":
                asyncio.get_running_loop().call_soon(self._stop)
                return _json({"stopping": True}, status=202)
            case _:
                return await self._handle_more(request)

    async def _handle_more(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, request.path:
            case "POST", "/progress":
                return await self._tell_progress(request)
            case "POST", "/accounts":
                return await self._open_account(request)
            case ("GET" | "DELETE") as method, path if path.startswith(ACCOUNTS):
                name = path.removeprefix(ACCOUNTS)
                found = self._measuring.status(name) if method == "GET" else await self._measuring.close(name)
                return _problem(404, "there is no such account") if found is None else _json(found)
            case _:
                return _problem(404, "there is nothing at this path")

    async def _list_images(self) -> web.StreamResponse:
        try:
            return _json(await self._views.images())
        except StoreError as problem:
            return _problem(503, str(problem))

    async def _tell_progress(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return _json(await self._views.progress(msgspec.json.decode(await request.read(), type=ProgressRequest)))
        except (msgspec.DecodeError, ValueError) as problem:
            return _problem(400, str(problem))
        except StoreError as problem:
            return _problem(503, str(problem))

    async def _open_account(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            wanted = msgspec.json.decode(await request.read(), type=AccountWanted)
            for one in wanted.listeners:
                self._check(one)
            opened = await self._measuring.open(wanted)
        except (msgspec.DecodeError, ValueError) as problem:
            return _problem(400, str(problem))
        except ObolError as problem:
            return _problem(409, str(problem))
        return _problem(409, "too many commands measure at the same time") if opened is None else _json(opened)

    def _check(self, wanted: ListenerStatus) -> None:
        """Look whether a port may be opened. Raises ValueError."""
        ipaddress.ip_address(wanted.address)
        if wanted.registry not in self._registries or not 0 <= wanted.port <= 65535:
            raise ValueError("no such registry is served, or the port is none")

    async def _change(
        self, request: web.BaseRequest, change: Callable[[ListenerSettings], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            wanted = msgspec.json.decode(await request.read(), type=ListenerStatus)
            self._check(wanted)
        except (msgspec.DecodeError, ValueError) as problem:
            return _problem(400, str(problem))
        return await change(ListenerSettings(wanted.registry, wanted.port, wanted.address))

    async def _open(self, wanted: ListenerSettings) -> web.StreamResponse:
        try:
            real = await self._listeners.add(wanted, absent_address=True)
        except ObolError as problem:
            return _problem(409, str(problem))
        return _json(ListenerStatus(real.registry, real.address, real.port))

    async def _drop(self, wanted: ListenerSettings) -> web.StreamResponse:
        if not await self._listeners.drop(wanted):
            return _problem(404, "no such port is open")
        return _json(ListenerStatus(wanted.registry, wanted.address, wanted.port))


def _bind(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, "the path is too long for a unix socket")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The directory is 0700 already; the socket is closed to others from its first moment, whatever the umask.
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(os.fspath(path))
        path.chmod(0o600)
        bound.listen(64)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=json_bytes(value), content_type="application/json", status=status)


def _problem(status: int, text: str) -> web.Response:
    return _json({"error": text}, status=status)
