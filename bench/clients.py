"""Clients that cost next to nothing, so that they are not what is measured.

They speak just enough HTTP, one thread each, and have the kernel drop the bytes of blobs (`MSG_TRUNC`, tcp(7)) rather
than copy them. That every byte arrives is counted; that the bytes are right is what the tests are for.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from bench.content import Blob

T = TypeVar("T")

HOST = "127.0.0.1"
PATIENCE = 180.0
"""Seconds without a byte after which a measurement is given up."""
_AT_ONCE = 1 << 20
_ACCEPT = ", ".join(
    f"application/vnd.{kind}"
    for kind in (
        "oci.image.index.v1+json",
        "oci.image.manifest.v1+json",
        "docker.distribution.manifest.list.v2+json",
        "docker.distribution.manifest.v2+json",
    )
)


class Failed(Exception):
    """A peer did not give what it was asked for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer serves one registry; drayage wants the registry's name before the repository."""

    port: int
    prefix: str = ""

    def manifest(self, repository: str, reference: str) -> str:
        """The path of a manifest."""
        return f"/v2/{self.prefix}{repository}/manifests/{reference}"

    def blob(self, blob: Blob) -> str:
        """The path of a blob."""
        return f"/v2/{self.prefix}{blob.repository}/blobs/{blob.digest}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body that was dropped as it came: bytes, and seconds from the request to the first and the last of them."""

    size: int
    first: float
    seconds: float


class Client:
    """One connection, kept alive; a context manager."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self, path: str) -> bytes:
        """GET a small body. Raises Failed, OSError."""
        left = self._ask(path)
        body = bytearray()
        while left > len(body):
            piece = self._socket.recv(left - len(body))
            if not piece:
                raise Failed(f"{path}: the body is cut short")
            body += piece
        return bytes(body)

    def head(self, path: str) -> int:
        """HEAD; gives the length that a GET would have. Raises Failed, OSError."""
        return self._ask(path, "HEAD")

    def drop(self, path: str, until: float | None = None) -> Fetched:
        """GET a body and let it go; past the moment `until`, what is still to come too. Raises Failed, OSError."""
        since = time.perf_counter()
        size = left = self._ask(path)
        buffer, first = bytearray(_AT_ONCE), 0.0
        while left:
            count = self._socket.recv_into(buffer, min(left, _AT_ONCE), socket.MSG_TRUNC)
            if not count:
                raise Failed(f"{path}: {left} of {size} bytes are missing")
            now = time.perf_counter()
            first = first or now - since
            left -= count
            if until is not None and now > until:
                break
        return Fetched(size - left, first, time.perf_counter() - since)

    def _ask(self, path: str, method: str = "GET") -> int:
        """Send the request and read the head of its answer; gives the length of the body."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nAccept: {_ACCEPT}, */*\r\n\r\n"
        self._socket.sendall(head.encode())
        status, *lines = self._head(path).split("\r\n")
        if status.split(" ")[1] != "200":
            raise Failed(f"{path}: {status}")
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                return int(value)
        raise Failed(f"{path}: the length is not told")

    def _head(self, path: str) -> str:
        head = b""
        while True:
            seen = self._socket.recv(1 << 16, socket.MSG_PEEK)
            if not seen:
                raise Failed(f"{path}: no answer")
            end = (head + seen).find(b"\r\n\r\n")
            head += self._socket.recv(len(seen) if end < 0 else end + 4 - len(head))
            if end >= 0:
                return head.decode("latin-1")


def together(jobs: Sequence[Callable[[], T]]) -> tuple[float, list[T]]:
    """Do all jobs at once; the seconds until the last is done, and what they return. Raises what a job raised."""
    line = threading.Barrier(len(jobs) + 1)

    def one(job: Callable[[], T]) -> T:
        line.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        futures = [threads.submit(one, job) for job in jobs]
        line.wait()
        since = time.perf_counter()
        done = [future.result() for future in futures]
        return time.perf_counter() - since, done


def herd(address: Address, blob: Blob, count: int, *, times: int = 1) -> float:
    """Seconds for so many clients to fetch one blob at once, each so many times. Raises Failed, OSError."""

    def job() -> None:
        with Client(address.port) as client:
            for _ in range(times):
                client.drop(address.blob(blob))

    return together([job] * count)[0]


def crowd(address: Address, blob: Blob, count: int, seconds: float) -> int:
    """Let so many clients read one blob at once, for so long at most; bytes that came. Raises Failed, OSError."""
    until = time.perf_counter() + seconds

    def job() -> int:
        with Client(address.port) as client:
            return client.drop(address.blob(blob), until).size

    return sum(together([job] * count)[1])
