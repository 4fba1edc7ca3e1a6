"""A slow line: forwards connections to a port of this machine at so many bytes a second in all, and counts them.

An image of a few MiB is there before anybody could interrupt it; through this it takes as long as a test needs.
"""

import socket
import threading
from contextlib import suppress

_PIECE = 16 * 1024
_BUFFER = 64 * 1024
"""What the kernel may hold of what was counted, so that the count is near to what arrived."""


class Throttle:
    """Listens until `close`, on a port that the system chooses unless one is given.

    `rate` (bytes a second, None: no limit) may be changed at any time.
    """

    def __init__(self, target: int, rate: float | None = None, *, port: int = 0) -> None:
        self._target = target
        self.rate = rate
        self.carried = 0
        """Bytes that went to the clients, headers included."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, name="throttle", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Drop every connection and listen no more."""
        self._closed.set()
        self._listening.close()
        for one in self._open:
            _end(one)

    def _accept(self) -> None:
        while not self._closed.is_set():
            with suppress(OSError):
                client, _ = self._listening.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                self._open.append(client)
                threading.Thread(target=self._connect, args=(client,), name="throttle", daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _end(client)
            return
        self._open.append(server)
        threading.Thread(target=_forward, args=(client, server), name="throttle", daemon=True).start()
        with suppress(OSError):
            while piece := server.recv(_PIECE):
                self._pace(len(piece))
                client.sendall(piece)
        _end(client)
        _end(server)

    def _pace(self, count: int) -> None:
        """Wait for a turn on the line, which all connections share."""
        with self._lock:
            if self.rate is not None:
                self._closed.wait(count / self.rate)
            self.carried += count


def _forward(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
