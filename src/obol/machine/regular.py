"""Regular files of known owners: the one way in which files are read whole, and replaced.

A path that a person or a setting names may lead anywhere: to a device, where a rename would destroy the node; to a
named pipe, where an open waits for ever; round in a circle; to a file of another user. So a path is looked at before
it is opened. Symbolic links are followed and stay links: it is the file at their end that is replaced.

What is refused is an OSError whose text is a sentence, so that code that explains an OSError explains it too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import secrets
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.files import PRIVATE_FILE, Folder, write_all
from obol.machine.texts import shown

if TYPE_CHECKING:
    from obol.machine.commands import User

MOST = 16 * 1024 * 1024
"""Bytes of a file that is read whole; no configuration has more."""
READABLE_FILE = 0o644

_LINKS = 40
"""Links in a row, as the kernel has it."""
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NOT_COPIED = frozenset({"security.ima", "security.evm", "security.capability"})
"""Attributes that are about the former bytes."""
_GET_FLAGS, _IMMUTABLE, _APPEND_ONLY = 0x80086601, 0x10, 0x20
"""FS_IOC_GETFLAGS and two of its flags: ioctl_iflags(2)."""


class NotRegular(OSError):
    """The path does not lead to a file that we may use; its text says what is there instead."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EINVAL, why, str(path))


@dataclass(frozen=True, slots=True)
class FileTarget:
    """Where a path leads."""

    path: Path
    """Without links."""
    found: os.stat_result | None
    """The regular file that is there; None where there is nothing yet."""
    linked: tuple[int, ...] = ()
    """Who owns the links that lead there."""


def known_owners() -> frozenset[int]:
    """Whose files we may replace: ours, root's and, as root, those of the person whom sudo made root."""
    owners = {0, os.geteuid(), os.getuid()}
    sudo = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and sudo.isascii() and sudo.isdigit():
        owners.add(int(sudo))
    return frozenset(owners)


def find(path: Path) -> FileTarget:
    """Follow a path to the file that it names. Raises OSError: NotRegular for anything but a regular file."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - without following links, as Path.absolute leaves `..`
    linked: list[int] = []
    while len(linked) < _LINKS:
        place = Path(os.path.realpath(place.parent)) / place.name
        found = _lstat(place, path)
        if found is None or stat.S_ISREG(found.st_mode):
            return FileTarget(place, found, tuple(linked))
        if not stat.S_ISLNK(found.st_mode):
            raise NotRegular(path, _said(place if linked else None, found.st_mode))
        linked.append(found.st_uid)
        place = place.parent / place.readlink()
    raise NotRegular(path, "its links lead round in a circle")


def find_ours(path: Path, owners: Collection[int] | None = None) -> FileTarget:
    """Follow a path to a file that we may replace. Raises OSError: NotRegular for a file of another user, too."""
    known = known_owners() if owners is None else owners
    target = find(path)
    for uid in target.linked:  # the user who made a link in /tmp chose what we would write to
        if uid not in known:
            raise NotRegular(path, f"it is a link of another user, {_name_of(uid)}")
    if target.found is not None and target.found.st_uid not in known:
        raise NotRegular(path, f"it belongs to another user, {_name_of(target.found.st_uid)}")
    return target


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = PRIVATE_FILE) -> int:
    """A descriptor of a regular file. Never waits for the other end of a pipe. Raises OSError."""
    target = find(path)
    # What is there may be exchanged between the two looks: the flags keep an open from waiting, or following.
    descriptor = os.open(target.path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode):
        return descriptor
    os.close(descriptor)
    raise NotRegular(path, _said(target.path if target.linked else None, found.st_mode))


def read(path: Path, most: int = MOST) -> bytes:
    """All bytes of a regular file. Raises OSError: NotRegular for one with more than `most` bytes, too."""
    descriptor = open_regular(path)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        content = file.read(most + 1)
    if len(content) > most:
        raise NotRegular(path, f"it has more than {most // 1024**2} MiB")
    return content


def read_text(path: Path, most: int = MOST) -> str:
    """The text of a regular file. Raises what `read` does, and UnicodeDecodeError where it is not UTF-8."""
    return read(path, most).decode()


def replace(
    target: FileTarget,
    data: bytes,
    *,
    mode: int | None = None,
    owner: User | None = None,
    temporary: str | None = None,
) -> None:
    """Let the file be these bytes, durably: readers see the old or the new ones, whole. Raises OSError.

    A file that is there keeps its mode, owner and attributes, unless a `mode` is given: then it is one of ours, which
    is made anew. `owner` is whom a new file belongs to. `temporary` is the name that it has while it is written.
    """
    kept = None if mode is not None else target.found
    with Folder.at(target.path.parent) as folder:
        name = temporary or f".obol-{secrets.token_hex(16)}"
        folder.unlink(name)
        descriptor = folder.create(name)
        try:
            write_all(descriptor, data)
            if kept is None:
                os.fchmod(descriptor, READABLE_FILE if mode is None else mode)
                if owner is not None:
                    os.fchown(descriptor, owner.uid, owner.gid)
            else:
                _take_after(descriptor, target.path, kept)
            os.fsync(descriptor)
            folder.rename(name, folder, target.path.name)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.unlink(name)
            raise
        finally:
            os.close(descriptor)
        folder.sync()


def write_atomically(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Let a file of ours be these bytes, durably: after a crash it is the old or the new one. Raises OSError."""
    replace(find_ours(path), data, mode=mode)


@contextlib.contextmanager
def explained(path: Path, done: str = "changed", *, hint: str | None = None) -> Iterator[None]:
    """Turn an OSError into an ObolError that says what cannot be done, why, and the way out (`hint`, where given)."""
    try:
        yield
    except OSError as problem:
        # What is named within an open directory is no path, and no name that a person knows.
        named = Path(os.fsdecode(problem.filename)) if isinstance(problem.filename, str | bytes) else path
        named = named if named.is_absolute() else path
        why = problem.strerror or str(problem)
        way_out = _way_out(problem, named) if hint is None else hint
        raise ObolError(f"{shown(named)} cannot be {done}", why=why, hint=way_out) from problem


def _way_out(problem: OSError, named: Path) -> str:
    match problem.errno:
        case errno.EROFS:
            return "the file system is read-only: make the change where this machine's files are configured"
        case errno.EBUSY:
            return "it is mounted by itself, as files in containers are: change it where it comes from"
        case errno.EPERM | errno.EACCES if _is_fixed(named):
            return "it is marked as immutable: `chattr -i` and `chattr -a` end that"
        case errno.EPERM | errno.EACCES:
            return "run the same command with sudo" if os.geteuid() else "look at `lsattr` and at the mount's options"
    if isinstance(problem, NotRegular):
        return "name another file, or put a plain file of yours there"
    return ""


def _is_fixed(path: Path) -> bool:
    """Whether the file or its directory is immutable, or takes only more."""
    for one in (path, path.parent):
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(one, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                flags = int.from_bytes(fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8))[:4], "little")
            finally:
                os.close(descriptor)
            if flags & (_IMMUTABLE | _APPEND_ONLY):
                return True
    return False


def _lstat(place: Path, path: Path) -> os.stat_result | None:
    try:
        return place.lstat()
    except FileNotFoundError:
        return None
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise NotRegular(path, "its links lead round in a circle") from problem
        raise


def _said(end: Path | None, mode: int) -> str:
    """`end` is where links lead, if there are any."""
    kind = next((kind for test, kind in _KINDS if test(mode)), "something else")
    return f"it is {kind}, not a file" if end is None else f"it is a link to {shown(end)}, {kind} and not a file"


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _take_after(descriptor: int, path: Path, kept: os.stat_result) -> None:
    """Give a new file what the former one had; what the file system refuses of the attributes is left out."""
    if (kept.st_uid, kept.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, kept.st_uid, kept.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(kept.st_mode))
    if not hasattr(os, "listxattr"):  # macOS
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            if name not in _NOT_COPIED:
                with contextlib.suppress(OSError):
                    os.setxattr(descriptor, name, os.getxattr(path, name, follow_symlinks=False))
