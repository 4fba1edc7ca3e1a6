"""A stand-in for a running engine: its lock, and its control socket served by a thread."""

import fcntl
import json
import os
import socketserver
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Self

Answer = tuple[int, bytes]


def status_body(store: Path, *, pid: int = 4711, ports: dict[str, int] | None = None) -> bytes:
    """What an engine answers to GET /status."""
    served = {"docker.io": 54100} if ports is None else ports
    upstream = {
        "health": "rate-limited",
        "detail": "429 Too Many Requests",
        "retry_after": 34.5,
        "requests": {"hit": 12000, "miss": 3, "stale": 1, "error": 2},
        "bytes_from_cache": 3 << 30,
        "bytes_from_upstream": 5 << 20,
        "upstream_requests": 9,
        "throughput": 1.5e6,
        "ratelimit": {"limit": 100, "remaining": 76},
    }
    return json.dumps(
        {
            "version": "0.1.0",
            "pid": pid,
            "store": str(store),
            "started_at": 1_700_000_000.0,
            "offline": False,
            "listeners": [{"registry": name, "address": "127.0.0.1", "port": port} for name, port in served.items()],
            "content": {"count": 1234, "size": 12 << 30},
            "partials": {"count": 1, "size": 7 << 20},
            "upstreams": [{"registry": name, "url": f"https://{name}", **upstream} for name in served],
        }
    ).encode()


@dataclass
class FakeEngine:
    """An engine that owns `store` while the context is open; `answers` may be changed at any time."""

    store: Path
    pid: int = 4711
    answers: dict[str, Answer] = field(default_factory=dict)
    """By method and path, such as "GET /status"."""
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    listens: bool = True
    """Whether it serves its control socket."""
    ends_when_told: bool = True
    _lock: int = -1
    _server: socketserver.UnixStreamServer | None = None

    def __enter__(self) -> Self:
        self.answers.setdefault("GET /status", (200, status_body(self.store, pid=self.pid)))
        self.answers.setdefault("POST /stop", (202, b""))
        self.lock()
        if self.listens:
            self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            (self.store / "control.sock").unlink()
        self.release()

    def lock(self) -> None:
        self.store.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.store / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, f"{self.pid}\n".encode())

    def release(self) -> None:
        """Own it no longer, as if the process had ended."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def listen(self) -> None:
        self._server = socketserver.UnixStreamServer(str(self.store / "control.sock"), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.asked.append((f"{method} {path}", body))
        if (method, path) == ("POST", "/stop") and self.ends_when_told:
            self.release()
        return self.answers.get(f"{method} {path}", (404, b"no such resource"))


def _handler(engine: FakeEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, body = engine.answer(self.command, self.path, content)
            self.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)))
            self.wfile.write(body)
            self.close_connection = True

    return Handler
