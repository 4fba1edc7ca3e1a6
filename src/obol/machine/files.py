"""Directories held open by descriptor, files that are there whole or not at all, and what is mounted below them.

A path that is looked up afresh for each call may lead elsewhere by then, through a symbolic link or a mount. A `Folder`
looks its path up once; names in it are plain names, and a symbolic link among them is never followed.

Everything here blocks: callers on an event loop use threads.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from obol.errors import ObolError

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

_MOUNTS = Path("/proc/self/mounts")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_ABSENT = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO})
"""What `open` says of a name that is not there, or is a link, or is not of the kind that was asked for."""


class Folder:
    """An open directory. Its methods raise OSError as the system calls do, unless they say otherwise."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open the directory at `path`, which may be reached through symbolic links."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def folder(self, name: str) -> Folder | None:
        """Open a directory in this one; None where there is none, or a link to one."""
        try:
            return Folder(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._descriptor))
        except OSError as problem:
            if problem.errno in _ABSENT:
                return None
            raise

    def make_folder(self, name: str) -> Folder:
        """Open a directory in this one, made now (0700) if it is not there; what else has its name is removed."""
        if (found := self.folder(name)) is not None:
            return found
        self.clear(name)
        with suppress(FileExistsError):
            os.mkdir(name, PRIVATE_DIRECTORY, dir_fd=self._descriptor)
        if (made := self.folder(name)) is None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        return made

    def open(self, name: str, flags: int = os.O_RDONLY) -> int | None:
        """A descriptor of the regular file `name`; None where there is none, or something that is not one."""
        try:
            # A pipe that another program put there must not make us wait for its other end.
            descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._descriptor)
        except OSError as problem:
            if problem.errno in _ABSENT:
                return None
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    def create(self, name: str, mode: int = PRIVATE_FILE) -> int:
        """A descriptor, to read and write, of a file that was not there before. Raises FileExistsError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.open(name, flags, mode, dir_fd=self._descriptor)

    def stat(self, name: str) -> os.stat_result | None:
        """What the regular file `name` is like; None where there is none."""
        try:
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """Everything in it but `.` and `..`, in no order."""
        # Two listings by one descriptor would share their position.
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._descriptor)
        try:
            with os.scandir(descriptor) as entries:
                yield from entries
        finally:
            os.close(descriptor)

    def rename(self, name: str, to: Folder, new_name: str) -> None:
        """Move a file to another folder of the same file system, over what is there."""
        os.rename(name, new_name, src_dir_fd=self._descriptor, dst_dir_fd=to._descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file; none there is fine."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def clear(self, name: str) -> None:
        """Free a name: a file or link is removed; a directory, of which we know nothing, gets another name."""
        try:
            self.unlink(name)
        except (IsADirectoryError, PermissionError):
            self.rename(name, self, f"{name}.odd-{secrets.token_hex(8)}")

    def sync(self) -> None:
        """Make the names in it survive a loss of power."""
        try:
            os.fsync(self._descriptor)
        except OSError as problem:
            # fsync(2): EINVAL is a file system that has no such thing for directories.
            if problem.errno != errno.EINVAL:
                raise

    def replace(self, name: str, pieces: Iterable[bytes], *, mode: int = PRIVATE_FILE, durable: bool = True) -> None:
        """Let `name` be a file of these bytes: readers see the old or the new one, whole.

        `durable` also syncs the file and the folder, so that this holds after a loss of power.
        """
        temporary = f"tmp-{secrets.token_hex(16)}"
        descriptor = self.create(temporary, mode)
        try:
            for piece in pieces:
                write_all(descriptor, piece)
            if durable:
                os.fsync(descriptor)
            self.rename(temporary, self, name)
        except BaseException:
            with suppress(OSError):
                self.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        if durable:
            self.sync()


@contextmanager
def failing_as(what: str, hint: str = "", kind: type[ObolError] = ObolError) -> Iterator[None]:
    """Turn an OSError into an error that says what failed, why by the system's own words, and what to do next."""
    try:
        yield
    except OSError as problem:
        raise kind(what, why=problem.strerror or str(problem), hint=hint) from problem


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data` at the descriptor's position. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def make_private_directory(path: Path) -> None:
    """Make a directory, and those above it that are missing, for us alone (0700). Raises OSError."""
    for missing in [*reversed(path.parents), path]:
        if not missing.is_dir():
            missing.mkdir(PRIVATE_DIRECTORY, exist_ok=True)


def give_away(path: Path, uid: int, gid: int, *, below: bool = True) -> None:
    """Let what root owns at a path, and `below` it, belong to another user; what cannot be changed is left."""
    for found in (path, *(path.rglob("*") if below else ())):
        with suppress(OSError):
            if found.lstat().st_uid == 0:
                os.chown(found, uid, gid, follow_symlinks=False)


def mounted_in(directory: str, table: Path = _MOUNTS) -> tuple[str, ...]:
    """Where a file system is mounted below a directory, or one that is made of what is in it; innermost first.

    An overlay names the directories that it is made of among its options: see fstab(5) for the lines.
    """
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        _source, target, _kind, options, *_ = (_unescaped(field) for field in line.split(" "))
        if target.startswith(f"{directory}/") or f"{directory}/" in options:
            found.append(target)
    return tuple(sorted(dict.fromkeys(found), reverse=True))


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)
