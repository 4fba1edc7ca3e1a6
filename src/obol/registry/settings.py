"""What the engine is told, as values. `config` makes them, `wiring` passes them down; nothing here reads anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.registry.control.api import LAST_TRANSFERS

if TYPE_CHECKING:
    from obol.registry.control.api import Listener

KIB = 1024
MIB = 1024 * KIB
ANSWER_MEMORY = 64 * MIB


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One registry behind us."""

    registry: str
    """Its normalised name, as in an image reference and in `?ns=`: docker.io, ghcr.io, localhost:5000."""
    url: str
    """Where its API is: scheme://host[:port], without a final slash."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust besides the system's."""
    proxy: str | None = None
    """An HTTP proxy to reach it by: http://host:port."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds. There is no limit on a whole transfer: layers may be large and lines slow."""

    connect: float = 5.0
    manifest: float = 4.5
    """A tag, manifest or list that is not held is answered within this, whatever the upstream does."""
    late_answer: float = 100.0
    """A manifest, list, token or first byte is waited for so long, though the client was told before that it is late:
    what comes is kept, and whoever asks next has it."""
    stale_after: float = 2.5
    """A tag that is held is answered within this, if need be with what it meant before."""
    blob_headers: float = 20.0
    """podman has no second source for a blob whose manifest we served, so we are patient with its first byte."""
    idle: float = 30.0
    """The longest gap inside a body, from an upstream."""
    trickle_window: float = 20.0
    """A connection that brought fewer than `trickle_bytes` in this time is given up and resumed."""
    trickle_bytes: int = 10 * KIB
    send_stall: float = 120.0
    """A client that takes nothing for this long is let go."""
    request: float = 12.0
    """A client must have sent the head of a request within this after its first byte, and a body after its answer."""
    keepalive: float = 75.0
    """An idle client connection is kept for this long."""
    follower_gap: float = 45.0
    """A client of a transfer that brings nothing for this long is let go, so that it can turn to the upstream."""
    shutdown: float = LAST_TRANSFERS
    """How long transfers under way may go on after the order to stop."""
    standstill: float = 120.0
    """A transfer that gets no new byte for this long is ended, whatever the reason."""
    abandoned: float = 60.0
    """A transfer that nobody follows goes on for this long, and to its end if most of it is there."""


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How blobs are fetched."""

    segment: int = 8 * MIB
    """Bytes of one Range request."""
    segmented_above: int = 12 * MIB
    """Smaller blobs are fetched by one plain GET."""
    connections_per_fill: int = 6
    connections_per_upstream: int = 16
    connections_overall: int = 32
    """Up to here blobs are fetched over several connections each."""
    firsts_per_upstream: int = 64
    firsts_overall: int = 128
    """Up to here a blob that is asked for gets one connection at once; a further one waits until one is free."""
    quiet_per_upstream: int = 192
    quiet_overall: int = 384
    """Up to here connections that bring nothing do not count as used."""
    withhold: int = 32 * KIB
    """The tail that no client gets before the digest is confirmed."""
    resumes: int = 4
    """Attempts in a row that may bring nothing before a transfer is given up."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Everything one engine needs to run."""

    store: Path
    upstreams: tuple[UpstreamSettings, ...]
    listeners: tuple[Listener, ...]
    """Port 0 lets the system choose one."""
    tag_ttl: float = 60.0
    """Seconds for which a tag is trusted without asking; 0 asks every time."""
    negative_ttl: float = 3.0
    """Seconds for which "there is no such tag" is remembered."""
    offline: bool = False
    """Never ask an upstream."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that redirects and token realms may name although they are loopback, private or link-local."""
    server_names: tuple[str, ...] = ()
    """More values of the Host header that are ours, besides loopback names and the addresses we listen on."""
    local_names: bool = False
    """Every address, and every name that public DNS cannot have, is ours too: for a container, see `server.hosts`."""
    unattended: int = 64
    """Questions of one kind to upstreams that go on although nobody waits for the answer any more."""
    answer_memory: int = ANSWER_MEMORY
    """Bytes of answers that may be kept in memory for clients that have not read them, over all clients."""
    limits: TimeLimits = field(default_factory=TimeLimits)
    fill: TransferSettings = field(default_factory=TransferSettings)


DEFAULT_UPSTREAMS: tuple[UpstreamSettings, ...] = (
    UpstreamSettings("docker.io", "https://registry-1.docker.io"),
    UpstreamSettings("ghcr.io", "https://ghcr.io"),
    UpstreamSettings("quay.io", "https://quay.io"),
)

DEFAULT_PORTS: dict[str, int] = {"docker.io": 54100, "ghcr.io": 54101, "quay.io": 54102}
