"""The control socket of a running builtin engine: HTTP with JSON over a unix socket.

By the standard library's client, because a command that only asks should not wait for asyncio and aiohttp to load.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from obol.errors import EngineNotRunning, EngineUnresponsive, PortTaken
from obol.registry.control import api
from obol.registry.store.layout import SOCKET

T = TypeVar("T")

_LONGEST_ANSWER = 64 * 1024 * 1024
_INVENTORY_WITHIN = 60.0
_PROGRESS_WITHIN = 1.0


class _UnixConnection(http.client.HTTPConnection):
    """The same protocol over a socket in the file system."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket of the file system."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class ControlClient:
    """Talks to the engine that owns a store; every method raises EngineNotRunning where no engine listens."""

    store: Path
    timeout: float = 5.0
    """Seconds for each step of an exchange."""

    def status(self) -> api.EngineStatus:
        """Ask how the engine does."""
        return self._ask("GET", api.STATUS, api.EngineStatus)

    def images(self) -> api.Inventory:
        """Ask which images are held; with a large store the engine has to look at many files."""
        return self._ask("GET", api.IMAGES, api.Inventory, within=_INVENTORY_WITHIN)

    def progress(self, images: Sequence[str], platforms: Sequence[str]) -> api.ProgressStatus:
        """Ask how far images are on their way; cheap enough to be asked several times a second."""
        question = api.ProgressRequest(tuple(images), tuple(platforms))
        return self._ask("POST", api.PROGRESS, api.ProgressStatus, question, within=_PROGRESS_WITHIN)

    def stop(self) -> None:
        """Tell the engine to end. It has heard it when this returns; it ends when its transfers have."""
        self._send("POST", api.STOP)

    def listen(self, listener: api.Listener) -> api.Listener:
        """Open one more address; raises PortTaken where another program holds it."""
        return self._ask("POST", api.LISTENERS, api.Listener, listener)

    def open_account(self, listeners: Sequence[api.Listener]) -> api.AccountStatus:
        """Count from now on what clients are given; raises PortTaken, also where too many accounts are open."""
        wanted = api.AccountRequest(os.getpid(), tuple(listeners))
        return self._ask("POST", api.ACCOUNTS, api.AccountStatus, wanted)

    def close_account(self, name: str) -> api.AccountStatus:
        """Tell what an account has come to, and close it; raises EngineUnresponsive where there is none."""
        return self._ask("DELETE", f"{api.ACCOUNTS}/{name}", api.AccountStatus)

    def _ask(
        self, method: str, path: str, answer: type[T], question: object = None, *, within: float | None = None
    ) -> T:
        body = b"" if question is None else msgspec.json.encode(question)
        try:
            return msgspec.json.decode(self._send(method, path, body, within=within), type=answer)
        except (msgspec.DecodeError, msgspec.ValidationError) as problem:
            raise EngineUnresponsive(
                "the cache engine answers in a way that we do not understand",
                why=str(problem),
                hint="it may be of another version: `obol cache stop`, then `obol cache start`",
            ) from problem

    def _send(self, method: str, path: str, body: bytes = b"", *, within: float | None = None) -> bytes:
        path_of_socket = self.store / SOCKET
        if len(os.fsencode(path_of_socket)) > api.LONGEST_SOCKET_PATH:
            raise _not_running()
        connection = _UnixConnection(path_of_socket, within or self.timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read(_LONGEST_ANSWER)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as problem:
            raise _not_running() from problem
        except PermissionError as problem:
            raise EngineUnresponsive(
                "the cache engine's control socket is not ours to use",
                why=f"{path_of_socket} belongs to another user",
                hint="run the command as the user who started the engine",
            ) from problem
        except (OSError, http.client.HTTPException) as problem:
            raise EngineUnresponsive(
                "the cache engine does not answer on its control socket",
                why=str(problem) or type(problem).__name__,
                hint="`obol cache logs` may say more; `obol cache stop` ends it",
            ) from problem
        finally:
            connection.close()
        if response.status >= 300:
            raise _refused(f"{method} {path}", response.status, content)
        return content


def _not_running() -> EngineNotRunning:
    return EngineNotRunning("the cache engine is not running", hint="start it: `obol cache start`")


def _refused(request: str, status: int, content: bytes) -> PortTaken | EngineUnresponsive:
    try:
        why = msgspec.json.decode(content, type=api.ControlProblem).error
    except msgspec.DecodeError:
        why = content[:500].decode(errors="replace").strip()
    if status == 409:
        return PortTaken("the cache engine cannot listen there", why=why)
    return EngineUnresponsive(f"the cache engine refused {request}", why=f"{status} {why}".strip())
