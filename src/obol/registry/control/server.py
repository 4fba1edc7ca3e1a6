"""HTTP with JSON on a unix socket that only its owner may open.

GET    /status      -> EngineStatus: what runs and what it did
GET    /images      -> Inventory: which images are held, and what is missing of them
POST   /progress    ProgressRequest -> ProgressStatus: how far these images are on their way
POST   /listeners   Listener -> Listener: open a port; the answer has its real number
POST   /accounts    AccountRequest -> AccountStatus: count what each client is given from now on
DELETE /accounts/N  -> AccountStatus: what account N has come to; it ends with its ports
POST   /stop        end; transfers under way may go on for `LAST_TRANSFERS` seconds

The values are those of `control.api`; what is refused is answered with a ControlProblem.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from aiohttp import web

from obol.errors import ObolError, StoreUnusable
from obol.machine.files import failing_as
from obol.machine.texts import json_bytes
from obol.registry.control import api
from obol.registry.store.ports import StoreError

T = TypeVar("T")

if TYPE_CHECKING:
    from obol.registry.control.openports import Measuring


@dataclass(frozen=True, slots=True)
class Views:
    """What an engine tells of itself. All but the status may raise StoreError."""

    status: Callable[[], Awaitable[api.EngineStatus]]
    images: Callable[[], Awaitable[api.Inventory]]
    progress: Callable[[api.ProgressRequest], Awaitable[api.ProgressStatus]]


class ControlServer:
    """Answers the command line."""

    def __init__(
        self,
        views: Views,
        listen: Callable[[api.Listener], Awaitable[api.Listener]],
        registries: frozenset[str],
        stop: Callable[[], None],
        measuring: Measuring,
    ) -> None:
        self._views = views
        self._listen = listen
        self._registries = registries
        self._stop = stop
        self._measuring = measuring
        self._runner: web.ServerRunner | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen on `path`; a socket that a dead process left there is replaced (the caller holds the store's lock).

        Raises StoreUnusable.
        """
        hint = "choose a store with a shorter path, on a file system that allows unix sockets"
        with failing_as(f"cannot listen on {path}", hint, StoreUnusable):
            bound = _bind(path)
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
        try:
            return await self._answer(request)
        except (msgspec.DecodeError, ValueError) as problem:
            if request.method == "GET":  # no question of the client's that could make no sense: a fault of ours
                raise
            return _problem(400, str(problem))
        except ObolError as problem:
            return _problem(409, str(problem))
        except StoreError as problem:
            return _problem(503, str(problem))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Raises DecodeError and ValueError for a question that makes no sense, ObolError, StoreError."""
        answer: web.StreamResponse = _problem(404, "there is nothing at this path")
        match request.method, request.path:
            case "GET", api.STATUS:
                answer = _json(await self._views.status())
            case "GET", api.IMAGES:
                answer = _json(await self._views.images())
            case "POST", api.PROGRESS:
                answer = _json(await self._views.progress(await _read(request, api.ProgressRequest)))
            case "POST", api.LISTENERS:
                wanted = await _read(request, api.Listener)
                self._check(wanted)
                answer = _json(await self._listen(wanted))
            case "POST", api.ACCOUNTS:
                answer = await self._open_account(await _read(request, api.AccountRequest))
            case "DELETE", path if path.startswith(f"{api.ACCOUNTS}/"):
                found = await self._measuring.close(path.removeprefix(f"{api.ACCOUNTS}/"))
                answer = _problem(404, "there is no such account") if found is None else _json(found)
            case "POST", api.STOP:
                asyncio.get_running_loop().call_soon(self._stop)
                answer = _json({"stopping": True}, status=202)
        return answer

    async def _open_account(self, wanted: api.AccountRequest) -> web.StreamResponse:
        for one in wanted.listeners:
            self._check(one)
        opened = await self._measuring.open(wanted)
        return _problem(409, "too many commands measure at the same time") if opened is None else _json(opened)

    def _check(self, wanted: api.Listener) -> None:
        """Look whether a port may be opened. Raises ValueError."""
        ipaddress.ip_address(wanted.address)
        if wanted.registry not in self._registries or not 0 <= wanted.port <= 65535:
            raise ValueError("no such registry is served, or the port is none")


def _bind(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    if len(os.fsencode(path)) > api.LONGEST_SOCKET_PATH:
        raise OSError(errno.ENAMETOOLONG, "the path is too long for a unix socket")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The directory is 0700 already; the socket is closed to others from its first moment, under any umask.
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(os.fspath(path))
        path.chmod(0o600)
        bound.listen(64)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


async def _read(request: web.BaseRequest, kind: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=kind)


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=json_bytes(value), content_type="application/json", status=status)


def _problem(status: int, text: str) -> web.Response:
    return _json(api.ControlProblem(text), status=status)
