"""What a stack leaves in the configuration directory: who it is, what it runs on, manifests, how the last `up` went.

Files of the person stay theirs: a manifest that they changed is neither refreshed nor removed, and `obol.toml` is never
touched. Which manifests are unchanged is known by the digest of what we wrote, kept beside them.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import msgspec

from obol.backends.base import BackendName
from obol.errors import ObolError
from obol.machine.regular import read, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from obol.workloads.sources import Manifest

STACK_ID = ".stack-id"
BACKEND = ".stack-backend"
LAST_UP = "last-up.json"
WORKLOADS = "workloads"
GATEWAY = "litellm.yaml"
KEY = "litellm-master-key"
WRITTEN = ".written.json"

RENDERED = ("registries.yaml", "registries.conf", "kubeconfig.yaml", KEY, LAST_UP, STACK_ID, BACKEND)
"""Files of ours beside the manifests. The backend goes last: an id without one would be taken for a stack on k3d."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which stack this is."""

    stack_id: str
    backend: BackendName


@dataclass(frozen=True, slots=True)
class LastUp:
    """How the last `up` that came to its end went."""

    at: float
    """Seconds since 1970."""
    seconds: float
    images: tuple[str, ...]
    """References of all images that it needed or saw."""
    bytes_from_cache: int | None = None
    bytes_from_upstream: int | None = None
    saved_seconds: float | None = None
    mirrors: dict[str, str] = field(default_factory=dict)
    """By registry: where its nodes were told to ask first."""


def remove_empty(*directories: Path) -> None:
    """Remove directories in which there is nothing any more; one that has something, or is not there, is no error."""
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError into an ObolError that says what to do."""
    try:
        yield
    except OSError as problem:
        raise ObolError(
            f"{problem.filename or path} cannot be used",
            why=problem.strerror or str(problem),
            hint=f"look at who owns {path}: a command that ran with sudo may have made it",
        ) from problem


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one stack."""

    config: Path

    @property
    def workloads(self) -> Path:
        """The directory of the manifests."""
        return self.config / WORKLOADS

    @property
    def gateway_manifest(self) -> Path:
        """The manifest of the gateway, in which its models are."""
        return self.workloads / GATEWAY

    @property
    def key_file(self) -> Path:
        """The file with the gateway's key."""
        return self.config / KEY

    def key(self) -> str:
        """Read the gateway's key; "" where there is none yet. Raises ObolError."""
        return _line(self.key_file)

    def identity(self) -> Identity | None:
        """Read who we are; None where there is no stack. Raises ObolError for a file that says nonsense."""
        name = _line(self.config / STACK_ID)
        if not name:
            return None
        backend = _line(self.config / BACKEND) or "k3d"
        for known in get_args(BackendName):
            if backend == known:
                return Identity(name, known)
        raise ObolError(
            f"the stack's backend is not known: {backend[:40]!r}",
            why=f"{self.config / BACKEND} names it",
            hint="run `obol stack init --force` with the backend that you want",
        )

    def establish(self, identity: Identity) -> None:
        """Write who we are. Raises ObolError."""
        with explained(self.config):
            self.config.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(self.config / BACKEND, f"{identity.backend}\n".encode())
            write_atomically(self.config / STACK_ID, f"{identity.stack_id}\n".encode())

    def refresh(self, packaged: Sequence[Manifest]) -> tuple[str, ...]:
        """Put the manifests of this version where the person can see and change them.

        Those that they changed are left alone and named. Raises ObolError.
        """
        directory = self.config / WORKLOADS
        written = self._written()
        changed = []
        with explained(directory):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            for manifest in packaged:
                path, ours = directory / _file(manifest), hashlib.sha256(manifest.text.encode()).hexdigest()
                # One that we wrote before an interruption is not among those that are known to be ours.
                if (there := _digest_of(path)) not in {None, ours, written.get(path.name)}:
                    changed.append(path.name)
                    continue
                if there != ours:
                    write_atomically(path, manifest.text.encode(), 0o644)
                written[path.name] = ours
            write_atomically(directory / WRITTEN, msgspec.json.encode(written))
        return tuple(changed)

    def last_up(self) -> LastUp | None:
        """How the last `up` went, if that is known."""
        try:
            return msgspec.json.decode(read(self.config / LAST_UP), type=LastUp)
        except (OSError, msgspec.DecodeError):
            return None

    def record(self, last: LastUp) -> None:
        """Remember an `up`. Raises OSError."""
        write_atomically(self.config / LAST_UP, msgspec.json.encode(last))

    def remove(self) -> tuple[Path, ...]:
        """Remove what we wrote; tell what of the manifests stays because the person changed it. Raises ObolError."""
        directory = self.config / WORKLOADS
        kept = []
        with explained(self.config):
            for name, digest in self._written().items():
                path = directory / name
                there = _digest_of(path)
                if there == digest:
                    path.unlink(missing_ok=True)
                elif there is not None:
                    kept.append(path)
            (directory / WRITTEN).unlink(missing_ok=True)
            for name in RENDERED:
                (self.config / name).unlink(missing_ok=True)
        remove_empty(directory, self.config)
        return tuple(kept)

    def _written(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(read(self.config / WORKLOADS / WRITTEN), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}


def _file(manifest: Manifest) -> str:
    return manifest.name.rpartition("/")[2]


def _line(path: Path) -> str:
    """Read a file of one line; "" only where there is none: what cannot be read must not pass for absent."""
    with explained(path):
        try:
            return read(path).decode(errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""


def _digest_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(read(path)).hexdigest()
    except OSError:
        return None
