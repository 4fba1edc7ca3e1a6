import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from obol.backends.kubernetes.api import Access, api_status, wait_for_api
from obol.errors import ObolError
from tests.fakes.clock import FakeClock
from tests.fakes.k3d import KUBECONFIG
from tests.fakes.tls import make_certificate, secure_server


class Answers:
    """An `ApiProbe` that gives one answer after another; the last one stays."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.asked: list[Access] = []

    async def __call__(self, access: Access) -> int | None:
        self.asked.append(access)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def loose_certificate(folder: Path) -> Path:
    """A certificate with its key, which signs itself without being an authority by RFC 5280."""
    folder.mkdir()
    extensions = "keyUsage=digitalSignature,keyCertSign"
    (folder / "req.cnf").write_text(f"[req]\ndistinguished_name=n\nx509_extensions=x\n[n]\n[x]\n{extensions}\n")
    request = "req -x509 -config req.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    command = ["openssl", *request.split(), "-out", "cert.pem", "-keyout", "key.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both


def test_access() -> None:
    """The server and its authority are read from a kubeconfig, and it may do without an authority."""
    without = "clusters: [{cluster: {server: 'https://a:1'}}]"

    assert Access.of(KUBECONFIG) == Access("https://127.0.0.1:41234", "CERTIFICATE")
    assert Access.of(without) == Access("https://a:1")


@pytest.mark.parametrize("text", ["", "a: [", "clusters: []", "clusters: [{cluster: {secret-key: x}}]"])
def test_no_access(text: str) -> None:
    """What is no kubeconfig is an error that shows nothing of it."""
    with pytest.raises(ObolError, match="cannot be read") as caught:
        Access.of(text)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.tool("openssl")
async def test_status(tmp_path: Path) -> None:
    """Anybody may answer, unless an authority is given: then it has to vouch for the server."""
    (tmp_path / "other").mkdir()
    certificate, other = make_certificate(tmp_path), make_certificate(tmp_path / "other")
    async with secure_server(certificate) as port:
        url = f"https://127.0.0.1:{port}"

        assert await api_status(Access(url)) == 200
        assert await api_status(Access(url, (tmp_path / "cert.pem").read_text())) == 200
        assert await api_status(Access(url, (other.parent / "cert.pem").read_text())) is None
        assert await api_status(Access(url, "no certificate")) is None

    assert await api_status(Access(url)) is None


@pytest.mark.tool("openssl")
async def test_certificates_of_k3s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate is not held to all of RFC 5280, as Python 3.13 would have it; who vouches for it still counts."""
    certificate, other = loose_certificate(tmp_path / "one"), loose_certificate(tmp_path / "other")
    plain = ssl.create_default_context

    def strict(cadata: str | None = None) -> ssl.SSLContext:
        context = plain(cadata=cadata)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    async with secure_server(certificate) as port:
        monkeypatch.setattr(ssl, "create_default_context", strict)
        with pytest.raises(ssl.SSLCertVerificationError, match="invalid CA"):
            await asyncio.open_connection("127.0.0.1", port, ssl=strict(certificate.read_text()))

        url = f"https://127.0.0.1:{port}"
        assert await api_status(Access(url, certificate.read_text())) == 200
        assert await api_status(Access(url, other.read_text())) is None


async def test_no_tls() -> None:
    """Whoever does not speak TLS is nobody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        assert await api_status(Access(f"https://127.0.0.1:{port}")) is None


@pytest.mark.tool("openssl")
@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 many\r\n"])
async def test_no_http(tmp_path: Path, reply: bytes) -> None:
    """Whoever does not speak HTTP is nobody, and what is asked for is the version."""
    asked: list[bytes] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(make_certificate(tmp_path))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]

        assert await api_status(Access(f"https://127.0.0.1:{port}")) is None

    assert asked == [b"GET /version HTTP/1.1\r\n"]


@pytest.mark.parametrize("up", [200, 401])
async def test_wait(up: int) -> None:
    """The API is asked for its version every two seconds; one that wants to know who is asking is up too."""
    probe, clock = Answers(None, 503, up), FakeClock()

    await wait_for_api(Access("https://127.0.0.1:41234", "PEM"), clock, probe)

    assert probe.asked == [Access("https://127.0.0.1:41234", "PEM")] * 3
    assert clock.sleeps == [2, 2]


@pytest.mark.parametrize(("answer", "said"), [(None, "nothing answers"), (503, "it says 503")])
async def test_wait_in_vain(answer: int | None, said: str) -> None:
    """After two minutes it is said what the API said last, and where a person finds out more."""
    clock = FakeClock()

    with pytest.raises(ObolError, match=f"not up after 120 seconds: {said} on https://a:1") as caught:
        await wait_for_api(Access("https://a:1"), clock, Answers(answer), look="see /c/k3s.log")

    assert sum(clock.sleeps) == 120
    assert caught.value.hint == "see /c/k3s.log; then run `obol stack up` again"
