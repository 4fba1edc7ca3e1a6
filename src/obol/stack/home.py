"""What a stack leaves on this machine: its name and backend, its manifests, its data, how the last `up` went.

Files of the person stay theirs: obol neither refreshes nor removes a manifest that they changed, and never touches
`obol.toml`. It knows unchanged manifests by the digest of what it wrote, which it keeps beside them. A data directory
that had something in it before stays theirs, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from obol.backends.ports import BACKENDS, ORIGINAL
from obol.errors import ObolError
from obol.machine import locks, regular
from obol.machine.files import failing_as
from obol.machine.regular import find_ours, open_regular, read, write_atomically
from obol.machine.texts import in_shell, shown
from obol.stack.plan import Gain  # noqa: TC001 - msgspec reads the annotation

if TYPE_CHECKING:
    from obol.backends.ports import BackendName
    from obol.workloads.sources import ManifestFile


STACK_ID = ".stack-id"
BACKEND = ".stack-backend"
LAST_UP = "last-up.json"
UNFINISHED = ".up-began"
"""When an `up` began that has not come to its end."""
WORKLOADS = "workloads"
GATEWAY = "litellm.yaml"
KEY = "litellm-master-key"
WRITTEN = ".written.json"


def rendered() -> tuple[str, ...]:
    """Files of ours beside the manifests. The backend goes last: an id without one would pass for a stack on k3d."""
    of_backends = dict.fromkeys(name for row in BACKENDS.values() for name in row.files)
    return (*of_backends, KEY, LAST_UP, UNFINISHED, STACK_ID, BACKEND)


_END_OF_TIME = 253402300800.0
"""The year 10000: no later moment can be shown."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which stack this is."""

    stack_id: str
    backend: BackendName


class NameLost(ObolError):
    """There is a stack, and the files that say which one do not tell."""

    def __init__(self, path: Path, why: str, backend: BackendName | None = None, first: str = "") -> None:
        shown_by = BACKENDS[backend or ORIGINAL].shown_by
        hint = f"put the name back: `echo NAME > {path}`, where {shown_by}; or begin anew with another"
        if path.name == BACKEND:
            hint = f"put it back: `echo {ORIGINAL} > {path}`, or whatever it was; or begin anew"
        super().__init__(
            "it is not known which stack this is", why=why, hint=f"{first}{hint}: `obol stack init --force`"
        )
        self.backend = backend
        """What the stack runs on, where that is known."""


@dataclass(frozen=True, slots=True)
class LastUp:
    """How the last `up` that came to its end went."""

    at: float
    """Seconds since 1970."""
    seconds: float
    images: tuple[str, ...]
    """References of all images that it needed or saw."""
    gain: Gain | None = None
    """What its nodes were given; None where that was not measured, or by a version that did not know it."""
    mirrors: dict[str, str] = field(default_factory=dict)
    """By registry: where its nodes were told to ask first."""


def remove_empty(*directories: Path) -> None:
    """Remove directories in which there is nothing any more; one that has something, or is not there, is no error."""
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()


def explained(path: Path) -> AbstractContextManager[None]:
    """Turn an OSError into an ObolError that says what to do."""
    return regular.explained(path, "used", hint=f"see who owns {path}: a command that ran with sudo may have made it")


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
        """Read who we are; None where there is no stack. Raises NameLost for a file that does not tell."""
        path = self.config / STACK_ID
        backend = self._backend()
        name = _identifying(path, backend)
        if name is None:
            return None
        if not is_stack_id(name):
            said = f"says {name[:40]!r}, which is no name of a stack" if name else "is empty"
            raise NameLost(path, f"{path} {said}", backend)
        return Identity(name, backend)

    def _backend(self) -> BackendName:
        """Read what the stack runs on. Raises NameLost for a file that does not tell."""
        path = self.config / BACKEND
        backend = _identifying(path)
        if backend is None:  # the original system wrote none
            return ORIGINAL
        for known in BACKENDS:
            if backend == known:
                return known
        raise NameLost(path, f"{path} " + (f"says {backend[:40]!r}, which is no backend" if backend else "is empty"))

    def establish(self, identity: Identity) -> None:
        """Write who we are. Raises ObolError."""
        with explained(self.config):
            self.config.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(self.config / BACKEND, f"{identity.backend}\n".encode())
            write_atomically(self.config / STACK_ID, f"{identity.stack_id}\n".encode())

    def refresh(self, packaged: Sequence[ManifestFile]) -> tuple[str, ...]:
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
            last = msgspec.json.decode(read(self.config / LAST_UP), type=LastUp)
        except (OSError, msgspec.DecodeError):
            return None
        return last if 0 <= last.at < _END_OF_TIME and 0 <= last.seconds < _END_OF_TIME else None

    def begin(self, at: float) -> None:
        """Remember that an `up` begins, until it is recorded. Raises OSError."""
        write_atomically(self.config / UNFINISHED, msgspec.json.encode(at))

    def unfinished(self) -> float | None:
        """When an `up` began that has not come to its end; None where there is none, or that is not known."""
        try:
            began = msgspec.json.decode(read(self.config / UNFINISHED), type=float)
        except (OSError, msgspec.DecodeError):
            return None
        return began if 0 <= began < _END_OF_TIME else None

    def record(self, last: LastUp) -> None:
        """Remember an `up` that has come to its end. Raises OSError."""
        (self.config / UNFINISHED).unlink(missing_ok=True)
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
            for name in rendered():
                (self.config / name).unlink(missing_ok=True)
        remove_empty(directory, self.config)
        return tuple(kept)

    def _written(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(read(self.config / WORKLOADS / WRITTEN), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}


def _file(manifest: ManifestFile) -> str:
    return manifest.name.rpartition("/")[2]


def is_stack_id(name: str) -> bool:
    """Whether a cluster can be called by it: https://k3d.io allows 32 characters, of which some are ours."""
    return len(name) <= LONGEST and _NAME.fullmatch(name) is not None


def _line(path: Path) -> str:
    """Read a file of one line; "" where there is none. Raises ObolError."""
    with explained(path):
        try:
            return read(path).decode(errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""


def _identifying(path: Path, backend: BackendName | None = None) -> str | None:
    """Read a file that says who we are; None only where there is none: what cannot be read must not pass for absent.

    Raises NameLost.
    """
    try:
        return read(path).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        first = "see who owns it; then " if isinstance(problem, PermissionError) else f"`rm -r {in_shell(path)}`; then "
        raise NameLost(path, f"{path} cannot be read: {problem.strerror or problem}", backend, first) from problem


def _digest_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(read(path)).hexdigest()
    except OSError:
        return None


MARK = ".obol-stack"
"""Names the configuration directory of the stacks that the directory was made for."""


def claim(data: Path, config: Path) -> None:
    """Have the directory, and mark it as ours if there was nothing in it. Raises ObolError."""
    for path, variable in ((data, "OBOL_DATA_DIR"), (config, "OBOL_CONFIG_DIR")):
        if not _is_text(path):
            raise ObolError(
                f"{shown(path)} cannot be used by a stack",
                why="its name is not UTF-8, and clusters are described in formats that take nothing else",
                hint=f"name another directory: {variable}",
            )
    with explained(data):
        data.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not any(data.iterdir()):
            write_atomically(data / MARK, os.fsencode(f"{config}\n"))


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_ours(data: Path, config: Path) -> bool:
    """Whether the directory was made for a stack of this configuration directory."""
    try:
        return os.fsdecode(read(data / MARK)).strip() == str(config)
    except (OSError, ValueError):
        return False


def remove(data: Path) -> None:
    """Remove a directory that was made for the stack. Raises ObolError."""
    hint = f"containers may have written it as root: sudo rm -rf {in_shell(data)}"
    with failing_as(f"the stack's data in {data} cannot be removed", hint), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(data)


LOCK = ".lock"


@contextlib.contextmanager
def at_work(config: Path) -> Iterator[None]:
    """Be the only one at work on the stack of a directory. Raises ObolError where another command is.

    The kernel ends it with the process. Where there is no stack afterwards, nothing is left of it.
    """
    path = config / LOCK
    with explained(config):
        config.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _locked(path)
    try:
        yield
    finally:
        if not (config / STACK_ID).exists():
            with contextlib.suppress(OSError):
                path.unlink()
                config.rmdir()
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open and lock the file that is at the path now: one that was removed meanwhile locks no command out."""
    while True:
        find_ours(path)
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            locks.take(descriptor)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BlockingIOError as problem:
            os.close(descriptor)
            raise ObolError(
                "another `obol stack` command is at work on this stack",
                why=f"it holds {path}",
                hint="wait until it has ended, and run the command again",
            ) from problem
        os.close(descriptor)


LONGEST = 21
"""k3d allows 32 characters for a cluster, of which `obol-stack-` takes eleven."""

FIRST = (
    "amber", "ample", "brave", "brisk", "calm", "civil", "clear", "coral", "crisp", "dapper", "eager", "early",
    "fair", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "humble", "jolly", "keen", "kind",
    "lively", "loyal", "lucid", "mellow", "merry", "mild", "modest", "neat", "noble", "open", "patient", "plain",
    "proud", "quick", "quiet", "rapid", "ready", "royal", "sharp", "silent", "simple", "smooth", "sober", "solid",
    "steady", "sunny", "swift", "tender", "tidy", "trusty", "vivid", "warm", "wise", "witty", "young", "zesty",
)  # fmt: skip
SECOND = (
    "badger", "beaver", "bison", "bobcat", "camel", "condor", "coyote", "crane", "dingo", "dolphin", "eagle", "egret",
    "falcon", "ferret", "finch", "gecko", "gibbon", "heron", "hippo", "ibex", "iguana", "jackal", "jaguar", "kestrel",
    "kiwi", "koala", "lemur", "lion", "llama", "lynx", "macaw", "marmot", "marten", "meerkat", "moose", "newt",
    "ocelot", "osprey", "otter", "owl", "panda", "parrot", "pelican", "puffin", "puma", "quail", "rabbit", "raven",
    "robin", "salmon", "seal", "sparrow", "squid", "stork", "swan", "tapir", "tiger", "toucan", "walrus", "wombat",
)  # fmt: skip


def two_words(below: Callable[[int], int]) -> str:
    """Make a name; `below(n)` gives a number from 0 up to, not including, n."""
    return f"{FIRST[below(len(FIRST))]}-{SECOND[below(len(SECOND))]}"
