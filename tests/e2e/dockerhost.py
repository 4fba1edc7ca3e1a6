"""A host of its own with a real dockerd: network, firewall and address pools are nobody else's.

Code under test runs in a thread that has moved into the host's network, and so do the programs that it starts.
"""

import asyncio
import ctypes
import io
import json
import os
import random
import re
import subprocess
import tarfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from obol.machine.commands import Completed, Lines, SystemRunner
from obol.machine.docker.cli import Docker
from tests.clients.images import BUSYBOX
from tests.clients.sandbox import Sandbox, open_sandbox
from tests.clients.servers import REGISTRY_CONFIG, Child, Upstream, environment, run
from tests.conftest import find_tool
from tests.limits import scaled

T = TypeVar("T")

POOL = {"base": "10.210.0.0/20", "size": 24}
"""Sixteen networks, of which Docker takes the first for itself."""
DOCKER0 = "10.210.0.1"
REGISTRY_IMAGE = "registry:3"
BUSYBOX_IMAGE = "busybox:1"

_CLONE_NEWNET = 0x40000000

_PROGRAMS = ("find", "sh", "sleep", "timeout")

# Debian's static busybox crashes on -T. What a node asks is -q -T SECONDS -O FILE URL.
_WGET = """\
#!/bin/sh
[ "$2" = -T ] || exec busybox wget "$@"
timeout "$3" busybox wget "$1" "$4" "$5" "$6" && exit
[ $? -lt 128 ] || echo "wget: download timed out" >&2
exit 1
"""


@dataclass(frozen=True, slots=True)
class _Runner:
    """Programs of the machine, with an environment of the host's own."""

    env: Mapping[str, str]
    lines: Lines | None = None

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any) -> Completed:
        """Run one, see `Runner`."""
        return await SystemRunner(self.lines).run(argv, env=env or self.env, **options)


class Origin(Upstream):
    """A docker-registry that everybody on the host reaches, and that takes pushes on loopback."""

    def __init__(self, workdir: Path, sandbox: Sandbox) -> None:
        super().__init__(workdir / "origin", workdir, sandbox, address="0.0.0.0")  # of a network of its own

    @property
    def url(self) -> str:
        return f"http://{DOCKER0}:{self.port}"

    def blobs_sent(self) -> int:
        """How often it has sent a blob since its beginning."""
        sent = (seen.method == "GET" and seen.status == 200 and "/blobs/" in seen.target for seen in self.seen())
        return sum(sent)


@dataclass
class DockerHost:
    """The host: its docker command line, and a way in for our own code."""

    workdir: Path
    sandbox: Sandbox
    origin: Origin
    _threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        network = self.sandbox.network[1].removeprefix("--net=")
        self._threads = ThreadPoolExecutor(1, initializer=_enter, initargs=(network,))

    @property
    def env(self) -> dict[str, str]:
        return environment(self.workdir, DOCKER_HOST=f"unix://{self.workdir / 'docker.sock'}")

    def watched(self, lines: Lines) -> Docker:
        """Docker for our own code, with somebody who wants to see what may be shown."""
        return Docker(_Runner(self.env), _Runner(self.env, lines))

    def docker(self, *arguments: str) -> str:
        """Run the docker command line as a person would."""
        return run(["docker", *arguments], self.env).strip()

    def refuses(self, *arguments: str) -> str:
        """What the docker command line says when it fails, as it must here."""
        done = subprocess.run(["docker", *arguments], env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode
        return done.stderr

    def logs(self, container: str) -> str:
        """All that a container wrote, on both of its streams."""
        argv = ["docker", "logs", container]
        done = subprocess.run(
            argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        )
        return done.stdout

    def program(self, *argv: str) -> str:
        """Run a program on the host's network."""
        return run([*self.sandbox.network, *argv], self.env).strip()

    def within(self, work: Callable[[Docker], Awaitable[T]]) -> T:
        """Do something with our own Docker, in the host's network."""

        async def main() -> T:
            return await work(Docker(_Runner(self.env)))

        return self._threads.submit(lambda: asyncio.run(main())).result(timeout=scaled(100))

    def import_image(self, name: str, entrypoint: Sequence[str], files: Mapping[str, Path]) -> None:
        """Make an image of a few files and of busybox."""
        archive = self.workdir / "image.tar"
        wget = self.workdir / "wget"
        wget.write_text(_WGET)
        archive.write_bytes(_root({"/bin/wget": wget, "/bin/busybox": BUSYBOX, **files}))
        self.docker("import", "--change", f"ENTRYPOINT {json.dumps(list(entrypoint))}", str(archive), name)

    def import_registry(self) -> None:
        command = ("/docker-registry", "serve", "/config.yml")
        self.import_image(REGISTRY_IMAGE, command, _registry_files(self.workdir))

    def publish(self, image: str, name: str) -> None:
        """Push an image to the origin under another name, and forget it."""
        pushed = f"127.0.0.1:{self.origin.port}/{name}"
        self.docker("tag", image, pushed)
        self.docker("push", "--quiet", pushed)
        self.docker("rmi", "--force", pushed, image)

    def publish_app(self) -> None:
        """Push an image of a MiB that does not shrink to the origin, as library/app:1."""
        payload = self.workdir / "payload"
        payload.write_bytes(random.Random(54100).randbytes(1 << 20))
        self.import_image("app", ("/bin/sh", "-c"), {"/payload": payload})
        self.publish("app", "library/app:1")

    def names(self, *filters: str) -> list[str]:
        """The names of the containers that run."""
        return sorted(self.docker("ps", *filters, "--format", "{{.Names}}").split())

    def close(self) -> None:
        self._threads.shutdown()


@contextmanager
def open_docker_host(workdir: Path) -> Iterator[DockerHost]:
    """Start everything, with the images of a registry and of busybox; end all of it."""
    with open_sandbox(own_network=True) as sandbox:
        settings = workdir / "daemon.json"
        settings.write_text(json.dumps({"default-address-pools": [POOL]}))
        argv = [*sandbox.everything, "dockerd", f"--config-file={settings}", f"--host=unix://{workdir / 'docker.sock'}"]
        argv += [*_storage(workdir, sandbox), f"--exec-root={workdir / 'exec'}", f"--pidfile={workdir / 'pid'}"]
        daemon = Child(argv, out=workdir / "dockerd.log", env=environment(workdir))
        with ExitStack() as ending:
            ending.callback(daemon.kill)
            daemon.wait_for(lambda: "API listen on" in daemon.said() or None, seconds=40)
            origin = Origin(workdir, sandbox)
            ending.callback(origin.unplug)
            host = DockerHost(workdir, sandbox, origin)
            ending.callback(host.close)
            host.import_registry()
            host.import_image(BUSYBOX_IMAGE, ("/bin/sh", "-c"), {})
            yield host


def _storage(workdir: Path, sandbox: Sandbox) -> tuple[str, str]:
    """Overlay where that works: over the file system at hand, or else in memory. vfs copies whole images."""
    tried = 'mkdir -p "$1" && cd "$1" && mkdir a b c d && mount -t overlay overlay -o lowerdir=a,upperdir=b,workdir=c d'
    tried += " && umount d && rm -r a b c d"
    ours = workdir / "docker"
    for directory in (ours, "/var/lib/docker"):  # the latter is the sandbox's own
        argv = [*sandbox.everything, "sh", "-c", tried, "sh", str(directory)]
        if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return f"--data-root={directory}", "--storage-driver=overlay2"
    return f"--data-root={ours}", "--storage-driver=vfs"


def _enter(network: str) -> None:
    """Move this thread; threads and processes that it starts are born there."""
    assert threading.current_thread() is not threading.main_thread()
    with Path(network).open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _registry_files(workdir: Path) -> dict[str, Path]:
    program = find_tool("docker-registry")
    assert program
    config = workdir / "config.yml"
    config.write_text(REGISTRY_CONFIG.format(storage="/var/lib/registry", address=":5000"))
    # Debian's is linked to the C library.
    libraries = re.findall(r"(/\S+) \(0x", run(["ldd", program], os.environ))
    files = {path: Path(path).resolve() for path in libraries}
    return {**files, "/docker-registry": Path(program), "/config.yml": config}


def _root(files: Mapping[str, Path]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp", "var", "var/lib", "var/lib/registry"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in files.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size, entry.mode = path.stat().st_size, 0o755
            with path.open("rb") as file:
                tar.addfile(entry, file)
        for name in _PROGRAMS:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return out.getvalue()
