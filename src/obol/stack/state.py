"""What a stack leaves in the configuration directory: who it is, what it runs on, manifests, how the last `up` went.

Files of the person stay theirs: a manifest that they changed is neither refreshed nor removed, and `obol.toml` is never
touched. Which manifests are unchanged is known by the digest of what we wrote, kept beside them.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import msgspec

from obol.backends.base import BackendName
from obol.errors import ObolError
from obol.machine.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from obol.workloads.sources import Manifest

STACK_ID = ".stack-id"
BACKEND = ".stack-backend"
LAST_UP = "last-up.json"
WORKLOADS = "workloads"
WRITTEN = ".written.json"

RENDERED = ("registries.yaml", "registries.conf", "kubeconfig.yaml", "litellm-master-key", LAST_UP, BACKEND, STACK_ID)
"""Files of ours beside the manifests; the id goes last, so that an interrupted purge can be repeated."""


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


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one stack."""

    config: Path

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
        """Write who we are. Raises OSError."""
        self.config.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(self.config / BACKEND, f"{identity.backend}\n".encode())
        write_atomically(self.config / STACK_ID, f"{identity.stack_id}\n".encode())

    def refresh(self, packaged: Sequence[Manifest]) -> tuple[str, ...]:
        """Put the manifests of this version where the person can see and change them.

        Those that they changed are left alone and named. Raises OSError.
        """
        directory = self.config / WORKLOADS
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        written = self._written()
        changed = []
        for manifest in packaged:
            path = directory / _file(manifest)
            there = _digest_of(path)
            if there is not None and there != written.get(path.name):
                changed.append(path.name)
                continue
            write_atomically(path, manifest.text.encode(), 0o644)
            written[path.name] = hashlib.sha256(manifest.text.encode()).hexdigest()
        write_atomically(directory / WRITTEN, msgspec.json.encode(written))
        return tuple(changed)

    def last_up(self) -> LastUp | None:
        """How the last `up` went, if that is known."""
        try:
            return msgspec.json.decode((self.config / LAST_UP).read_bytes(), type=LastUp)
        except (OSError, msgspec.DecodeError):
            return None

    def record(self, last: LastUp) -> None:
        """Remember an `up`. Raises OSError."""
        write_atomically(self.config / LAST_UP, msgspec.json.encode(last))

    def remove(self) -> tuple[Path, ...]:
        """Remove what we wrote; tell what of the manifests stays because the person changed it. Raises OSError."""
        directory = self.config / WORKLOADS
        kept = []
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
        for empty in (directory, self.config):
            with contextlib.suppress(OSError):
                empty.rmdir()
        return tuple(kept)

    def _written(self) -> dict[str, str]:
        try:
            return msgspec.json.decode((self.config / WORKLOADS / WRITTEN).read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}


def _file(manifest: Manifest) -> str:
    return manifest.name.rpartition("/")[2]


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _digest_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
