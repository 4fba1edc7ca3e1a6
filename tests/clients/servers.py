"""The processes of a test: a real docker-registry as the upstream, and the engine in front of it."""

import http.client
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from tests.clients.sandbox import DIE_WITH_US, OUTSIDE, Sandbox
from tests.limits import scaled

T = TypeVar("T")

LONG_TTL = 3600.0

REGISTRY_CONFIG = """\
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "{address}"}}
"""

_GET = f"""\
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout={scaled(10)})
connection.request("GET", sys.argv[2])
print(connection.getresponse().status)
"""

_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<target>\S+) HTTP/1\.1" (?P<status>\d{3}) (?P<size>\d+)')


def environment(workdir: Path, **extra: str) -> dict[str, str]:
    """What a child process is told: nothing of the user's settings, proxies or registries."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PYTHONPATH", "TMPDIR"} or name.startswith("COVERAGE_")
    }
    home = workdir / "home"
    home.mkdir(exist_ok=True)
    # Debian keeps daemons where a plain user's PATH does not look.
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return {**kept, "PATH": path, "HOME": str(home), "OBOL_CONFIG_DIR": str(home), "LC_ALL": "C.UTF-8", **extra}


def run(argv: list[str], env: Mapping[str, str]) -> str:
    """Run a command to its end and return what it printed; the test fails with its words if it does."""
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=scaled(50), check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def get(port: int, target: str, sandbox: Sandbox = OUTSIDE) -> int:
    """The status of a GET from a loopback port, inside the sandbox's network."""
    return int(run([*sandbox.network, sys.executable, "-I", "-c", _GET, str(port), target], os.environ))


class Child:
    """A child process that writes into files, so that no pipe ever fills up."""

    def __init__(self, argv: list[str], *, out: Path, env: Mapping[str, str]) -> None:
        self._argv = argv
        self.out = out
        self.err = out.with_suffix(".err")
        self._since = self.err.stat().st_size if self.err.exists() else 0
        with self.out.open("ab") as stdout, self.err.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, *argv], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env
            )

    def said(self) -> str:
        """What this one has written to standard error; an earlier one may have written there, too."""
        return self.err.read_bytes()[self._since :].decode(errors="replace")

    def wait_for(self, probe: Callable[[], T | None], *, seconds: float = 20.0) -> T:
        """Ask `probe` until it knows something; the test fails if the process ends or the time runs out."""
        deadline = time.monotonic() + scaled(seconds)
        while (found := probe()) is None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout=0.05)
                pytest.fail(f"{' '.join(self._argv)}: ended with {code}\n{self._tail()}")
            if time.monotonic() > deadline:
                pytest.fail(f"{' '.join(self._argv)}: not ready after {scaled(seconds)} s\n{self._tail()}")
        return found

    def stop(self) -> int:
        """Ask it to stop and return its exit code; the test fails if it does not."""
        self._process.terminate()
        try:
            return self._process.wait(timeout=scaled(20))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            pytest.fail(f"{' '.join(self._argv)}: ignores SIGTERM\n{self._tail()}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _tail(self) -> str:
        return self.out.read_text(errors="replace")[-2000:] + self.err.read_text(errors="replace")[-6000:]


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request that reached the upstream, and the bytes of its answer's body."""

    method: str
    target: str
    status: int
    size: int


class Upstream:
    """A docker-registry process over a directory; its access log tells what it was asked.

    It gets a port by itself and keeps it when it is unplugged and plugged in again.
    """

    def __init__(self, storage: Path, workdir: Path, sandbox: Sandbox = OUTSIDE, *, address: str = "127.0.0.1") -> None:
        self._address = address
        self._storage = storage
        self._workdir = workdir
        self._sandbox = sandbox
        self._name = f"upstream-{uuid.uuid4().hex[:8]}"
        self._child: Child | None = None
        self._forgotten = 0
        self.port = 0
        self.plug()

    @property
    def url(self) -> str:
        """Where it answers while it is plugged in."""
        return f"http://127.0.0.1:{self.port}"

    def plug(self) -> None:
        config = self._workdir / f"{self._name}.yml"
        config.write_text(REGISTRY_CONFIG.format(storage=self._storage, address=f"{self._address}:{self.port}"))
        argv = [*self._sandbox.network, "docker-registry", "serve", str(config)]
        out = self._workdir / f"{self._name}.log"
        self._child = Child(argv, out=out, env=environment(self._workdir))
        self.port = self._child.wait_for(self._listening_port)

    def unplug(self) -> None:
        """Stop it: from now on connections are refused."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def forget(self) -> None:
        self._forgotten += len(self.requests())

    def requests(self) -> list[LoggedRequest]:
        """What it was asked since the last `forget`."""
        if self._child is not None:
            # A line is written when its answer is done, so that one of our own tells that the earlier ones are there.
            mark = f"/v2/?mark={uuid.uuid4().hex}"
            get(self.port, mark, self._sandbox)
            self._child.wait_for(lambda: mark in self._access_log() or None)
        return [one for one in self.seen() if "/v2/?mark=" not in one.target][self._forgotten :]

    def seen(self) -> list[LoggedRequest]:
        """What it has noted down since its beginning; what it answers just now may be missing."""
        found = filter(None, map(_ACCESS.search, self._access_log().splitlines()))
        return [LoggedRequest(line["method"], line["target"], int(line["status"]), int(line["size"])) for line in found]

    def blob_bytes(self) -> dict[str, int]:
        """How many bytes of which blob left it since the last `forget`."""
        sent: Counter[str] = Counter()
        for seen in self.requests():
            if seen.method == "GET" and "/blobs/" in seen.target:
                sent[seen.target.rpartition("/")[2].partition("?")[0]] += seen.size
        return dict(sent)

    def _access_log(self) -> str:
        return (self._workdir / f"{self._name}.log").read_text()

    def _listening_port(self) -> int | None:
        assert self._child is not None
        found = re.search(r"listening on \S+:(\d+)", self._child.said())
        return int(found[1]) if found else None


class Listener(msgspec.Struct, frozen=True):
    """One port of the engine."""

    registry: str
    address: str
    port: int


class Traffic(msgspec.Struct, frozen=True):
    """What the engine counted for one registry."""

    registry: str
    bytes_from_cache: int
    bytes_from_upstream: int


class Status(msgspec.Struct, frozen=True):
    """What the engine tells about itself on its control socket."""

    listeners: list[Listener]
    upstreams: list[Traffic]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=scaled(10))
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Engine:
    """`obol cache serve` over a store; ports are chosen by the system once and kept over restarts."""

    def __init__(self, upstreams: Mapping[str, str], workdir: Path, sandbox: Sandbox = OUTSIDE) -> None:
        self._upstreams = upstreams
        self._workdir = workdir
        self._sandbox = sandbox
        self._ports = dict.fromkeys(upstreams, 0)
        self._child: Child | None = None

    @property
    def port(self) -> int:
        return self._ports["docker.io"]

    def port_of(self, registry: str) -> int:
        """The port for one of the registries."""
        return self._ports[registry]

    def start(self, *, tag_ttl: float = LONG_TTL, offline: bool = False) -> None:
        """Start it and wait until it answers."""
        argv = [*self._sandbox.network, sys.executable, "-m", "obol", "cache", "serve"]
        argv += ["--store", str(self._workdir / "store"), "--tag-ttl", str(tag_ttl), "--log-format", "json"]
        for registry, url in self._upstreams.items():
            argv += ["--upstream", f"{registry}={url}", "--port", f"{registry}={self._ports[registry]}"]
        argv += ["--offline"] if offline else []
        self._child = Child(argv, out=self._workdir / "engine.log", env=environment(self._workdir))
        status = self._child.wait_for(self._try_status)
        self._ports = {listener.registry: listener.port for listener in status.listeners}
        assert get(self.port, "/healthz", self._sandbox) == 200

    def stop(self) -> None:
        """Stop it by SIGTERM, which must be an orderly end."""
        if self._child is not None:
            child, self._child = self._child, None
            code = child.stop()
            assert code == 0, f"the engine ended with {code}"

    def restart(self, *, tag_ttl: float = LONG_TTL, offline: bool = False) -> None:
        """Stop it and start it again over the same store and ports."""
        self.stop()
        self.start(tag_ttl=tag_ttl, offline=offline)

    def traffic(self, registry: str = "docker.io") -> Traffic:
        """What it counted for one registry since its start."""
        status = self._try_status()
        assert status is not None
        return next(traffic for traffic in status.upstreams if traffic.registry == registry)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self._child is not None:
            self._child.kill()

    def log(self) -> str:
        paths = (self._workdir / "engine.log", self._workdir / "engine.err")
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def _try_status(self) -> Status | None:
        connection = UnixConnection(self._workdir / "store" / "control.sock")
        try:
            connection.request("GET", "/status")
            return msgspec.json.decode(connection.getresponse().read(), type=Status)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        finally:
            connection.close()
