"""The engine and those it is compared with: how each is started over a store of its own.

All are given what makes them fast: no access logs, and locks or cache times that suit a proxy of registries.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.clients import HOST, Address, Failed
from bench.measures import OURS
from bench.servers import Server, free_port, running
from obol.registry.server.listeners import CONGESTION_CONTROL

if TYPE_CHECKING:
    from bench.content import Content

Name = Literal["direct", "nginx", "nginx reno", "nginx cache", "registry", "drayage", "obol"]
HITS: tuple[Name, ...] = ("nginx", "registry", "drayage", "obol")
"""Those that are compared when all is there; nginx serves files then, as the practical limit."""
PROGRAMS: Mapping[Name, str] = {
    "nginx": "nginx",
    "nginx reno": "nginx",
    "nginx cache": "nginx",
    "registry": "docker-registry",
    "drayage": "drayage",
}
_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer is to run: its own folder, the upstream, and which registries it is to serve."""

    folder: Path
    origin_port: int
    content: Content
    registries: tuple[str, ...] = ("docker.io",)
    pinned_to: int | None = None
    """A processor that it is confined to."""
    next_day: bool = False
    """The engine is to ask for every tag anew, as it would when its trust in them has run out."""

    @property
    def upstream(self) -> str:
        """The base URL of the origin."""
        return f"http://{HOST}:{self.origin_port}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What comes before a command line."""
        return () if self.pinned_to is None else ("taskset", "-c", str(self.pinned_to))


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that runs: its processes, and where it serves each registry."""

    servers: tuple[Server, ...]
    addresses: Mapping[str, Address]

    @property
    def hub(self) -> Address:
        """Where it serves docker.io."""
        return self.addresses["docker.io"]

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        return sum(server.cpu() for server in self.servers)

    def peak_memory(self) -> int:
        """Bytes that were resident at most."""
        return sum(server.peak_memory() for server in self.servers)


@contextmanager
def serving(name: Name, site: Site) -> Iterator[Running]:
    """Run a peer over the store in `site.folder`; it is gone at the end of the block. Raises Failed."""
    with ExitStack() as stack:
        yield _STARTS[name](site, stack)


@contextmanager
def fresh(name: Name, site: Site) -> Iterator[Running]:
    """Run a peer over an empty store in a folder within `site.folder`; both are gone at the end of the block."""
    folder = Path(tempfile.mkdtemp(dir=site.folder))
    try:
        with serving(name, replace(site, folder=folder)) as peer:
            yield peer
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str) -> str:
    """The path of a program: of this Python's environment, else of the system. Raises Failed."""
    search = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), *_SYSTEM]
    found = shutil.which(name, path=os.pathsep.join(search))
    if found is None:
        raise Failed(f"{name} is not installed")
    return found


def available(name: Name) -> bool:
    """Whether a peer's program is there."""
    try:
        return name not in PROGRAMS or bool(program(PROGRAMS[name]))
    except Failed:
        return False


def _direct(site: Site, _: ExitStack) -> Running:
    return Running((), {registry: Address(site.origin_port) for registry in site.registries})


def _obol(site: Site, stack: ExitStack) -> Running:
    ports = {registry: free_port() for registry in site.registries}
    argv = [*site.prefix, sys.executable, "-m", "obol", "cache", "serve", f"--store={site.folder / 'store'}"]
    for registry, port in ports.items():
        argv += [f"--upstream={registry}={site.upstream}", f"--port={registry}={port}"]
    argv += ["--tag-ttl=0"] if site.next_day else []
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OBOL_")}
    environ["OBOL_CONFIG_DIR"] = str(site.folder / "config")
    first = next(iter(ports.values()))
    server = stack.enter_context(running(argv, site.folder / "log", first, environ))
    return Running((server,), {registry: Address(port) for registry, port in ports.items()})


def _registry(site: Site, stack: ExitStack) -> Running:
    """A process for each registry, since one has one upstream."""
    addresses, servers = {}, []
    for registry in site.registries:
        port, folder = free_port(), site.folder / registry
        folder.mkdir(exist_ok=True)
        settings = folder / "registry.yml"
        settings.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage:\n  cache: {{blobdescriptor: inmemory}}\n  filesystem: {{rootdirectory: {folder}}}\n"
            f"http: {{addr: '{HOST}:{port}'}}\nproxy: {{remoteurl: '{site.upstream}'}}\n"
        )
        argv = [*site.prefix, program("docker-registry"), "serve", str(settings)]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        servers.append(stack.enter_context(running(argv, folder / "log", port, environ)))
        addresses[registry] = Address(port)
    return Running(tuple(servers), addresses)


def _drayage(site: Site, stack: ExitStack) -> Running:
    port, cache = free_port(), site.folder / "cache"
    cache.mkdir(exist_ok=True)
    lines = [f'listen = "{HOST}:{port}"', f'cache_dir = "{cache}"']
    for registry in site.registries:
        lines += [f"[upstreams.{registry.replace('.', '_')}]", f'registry = "{site.upstream}"']
    settings = site.folder / "drayage.toml"
    settings.write_text("\n".join(lines) + "\n")
    argv = [*site.prefix, program("drayage"), "serve", "--config", str(settings)]
    server = stack.enter_context(running(argv, site.folder / "log", port))
    return Running((server,), {registry: Address(port, f"{registry}/") for registry in site.registries})


def _nginx(site: Site, stack: ExitStack) -> Running:
    """Files, whose names are the paths of a registry, by sendfile."""
    return _run_nginx(site, stack, free_port(), f"root {_files(site)};")


def _nginx_reno(site: Site, stack: ExitStack) -> Running:
    """The same on a socket of ours: nginx cannot choose a congestion control, but takes over what is open (NGINX)."""
    listening = stack.enter_context(socket.create_server((HOST, free_port())))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)
    return _run_nginx(site, stack, listening.getsockname()[1], f"root {_files(site)};", handed_over=listening)


def _files(site: Site) -> Path:
    root = site.folder / "root"
    for (repository, reference), document in site.content.collection.documents.items():
        path = root / "v2" / repository / "manifests" / reference
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(document.body)
    for repository, digest in site.content.collection.blobs:
        path = root / "v2" / repository / "blobs" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(site.content.collection.path(digest))
    return root


def _nginx_cache(site: Site, stack: ExitStack) -> Running:
    cache = f"proxy_cache_path {site.folder / 'cache'} keys_zone=all:10m use_temp_path=off max_size=100g;"
    # Its own limits of 5 s would let a herd through to the upstream while a large layer is on its way.
    location = """
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache all; proxy_cache_key $uri; proxy_cache_valid 200 1h;
      proxy_cache_lock on; proxy_cache_lock_timeout 10m; proxy_cache_lock_age 10m;
    }"""
    upstream = f"upstream origin {{ server {HOST}:{site.origin_port}; keepalive 16; }}"
    return _run_nginx(site, stack, free_port(), location, f"{cache}\n{upstream}")


def _run_nginx(
    site: Site, stack: ExitStack, port: int, server: str, http: str = "", *, handed_over: socket.socket | None = None
) -> Running:
    folder = site.folder
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", *_NGINX_TEMPORARY))
    user = "user root;" if os.geteuid() == 0 else ""  # a worker of another user could not read our folders
    settings = folder / "nginx.conf"
    settings.write_text(
        f"daemon off; pid {folder}/pid; worker_processes 1; {user} error_log stderr error;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n"
        f"open_file_cache max=1000; keepalive_requests 1000000000;\n{http}\n"
        f"server {{ listen {HOST}:{port}; {server} }} }}\n"
    )
    argv = [*site.prefix, program("nginx"), "-p", str(folder), "-c", str(settings), "-e", "stderr"]
    descriptors = () if handed_over is None else (handed_over.fileno(),)
    environ = {**os.environ, "NGINX": "".join(f"{number};" for number in descriptors)}
    nginx = stack.enter_context(running(argv, folder / "log", port, environ, descriptors))
    return Running((nginx,), {"docker.io": Address(port)})


_NGINX_TEMPORARY = ("proxy", "fastcgi", "uwsgi", "scgi")
_STARTS: Mapping[Name, Callable[[Site, ExitStack], Running]] = {
    "direct": _direct,
    OURS: _obol,
    "registry": _registry,
    "drayage": _drayage,
    "nginx": _nginx,
    "nginx reno": _nginx_reno,
    "nginx cache": _nginx_cache,
}
