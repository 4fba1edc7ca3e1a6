"""Blobs of gigabytes that take hardly any disk, and an upstream that sends them by sendfile from threads.

A blob is a file with holes. At each MiB stand 4 KiB that no other place has, so that bytes from the wrong offset are
noticed, and that it is not all zeros.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fakes.content import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of
from tests.soak.figures import MIB

MARK = 4096
REPOSITORY = "library/large"
CONFIG = b"{}"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_AT_ONCE = 1 << 30


@dataclass(frozen=True, slots=True)
class SparseBlob:
    """A blob of `size` bytes in a file."""

    path: Path
    size: int
    digest: str

    @contextmanager
    def mapped(self) -> Iterator[mmap.mmap]:
        with self.path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)) as view:
            yield view


def make_sparse(path: Path, size: int, seed: int) -> SparseBlob:
    """Write the file and hash it; blocks for seconds."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset in [*range(0, size, MIB), size - MARK]:
            file.seek(offset)
            file.write(random.Random(f"{seed} {offset}").randbytes(MARK))
    with path.open("rb") as file:
        return SparseBlob(path, size, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


class Origin(ThreadingHTTPServer):
    """One repository with one tag, `1`, whose image has the blobs as layers; counts what it sends of each."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, blobs: Sequence[SparseBlob]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.blobs = {blob.digest: blob for blob in blobs}
        layers = [{"mediaType": OCI_LAYER, "digest": blob.digest, "size": blob.size} for blob in blobs]
        config = {"mediaType": OCI_CONFIG, "digest": digest_of(CONFIG), "size": len(CONFIG)}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        self.manifest = json.dumps(document).encode()
        self.sent: dict[str, int] = dict.fromkeys(self.blobs, 0)
        self._counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, digest: str, size: int) -> None:
        """Add to what was sent of a blob."""
        with self._counting:
            self.sent[digest] += size

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""

    @contextmanager
    def serving(self) -> Iterator[Origin]:
        """Serve from a thread for as long as the block runs."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, *, body: bool) -> None:
        name = self.path.rpartition("/")[2]
        blob = self.server.blobs.get(name)
        if blob is not None:
            self._blob(blob, body=body)
        elif "/manifests/" in self.path:
            self._document(OCI_MANIFEST, self.server.manifest, body=body)
        else:
            self._document("application/octet-stream", CONFIG, body=body)

    def _document(self, media_type: str, data: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Docker-Content-Digest", digest_of(data))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _blob(self, blob: SparseBlob, *, body: bool) -> None:
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, stop = 0, blob.size
        if asked:
            start = int(asked[1])
            stop = min(blob.size, int(asked[2]) + 1) if asked[2] else blob.size
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(stop - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{blob.size}")
        self.end_headers()
        if body:
            with suppress(ConnectionError):
                self._send(blob, start, stop)

    def _send(self, blob: SparseBlob, start: int, stop: int) -> None:
        with blob.path.open("rb") as file:
            while start < stop:
                count = os.sendfile(self.connection.fileno(), file.fileno(), start, min(_AT_ONCE, stop - start))
                if not count:
                    raise ConnectionResetError
                self.server.count(blob.digest, count)
                start += count
