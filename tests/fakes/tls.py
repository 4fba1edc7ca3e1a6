"""A server with a certificate that nobody trusts unless told to."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_REQUEST = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
_EXTENSIONS = ("subjectAltName=IP:127.0.0.1", "keyUsage=critical,digitalSignature,keyCertSign")


def make_certificate(folder: Path) -> Path:
    """A file in `folder` with a self-signed certificate for 127.0.0.1 and its key. Needs openssl."""
    added = [part for extension in _EXTENSIONS for part in ("-addext", extension)]
    subprocess.run(
        ["openssl", *_REQUEST.split(), *added, "-out", "cert.pem", "-keyout", "key.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both


@asynccontextmanager
async def secure_server(certificate: Path) -> AsyncIterator[int]:
    """A port on 127.0.0.1 that answers everything with an empty 200, by TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
