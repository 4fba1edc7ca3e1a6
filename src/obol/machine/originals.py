"""Files of other programs that we change: what was there is kept, and comes back.

What a file held is written down before the file is touched, so that an interruption at any moment leaves either the
original or a record of it. Everything that we ever wrote is in the record, too: a file that holds something else was
edited by a person, and only our part of it may go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from obol.errors import ObolError
from obol.machine import locks, regular
from obol.machine.files import PRIVATE_DIRECTORY, PRIVATE_FILE
from obol.machine.regular import explained, find_ours, read, read_text

if TYPE_CHECKING:
    from obol.machine.commands import User

Action = Literal["written", "unchanged", "restored", "removed", "merged", "gone"]
"""written, unchanged: by a write. By an undo: restored: as it was; removed: there was none; merged: only our part was
taken out, and the edits of others stay; gone: nothing of ours was there any more."""

_READABLE_DIRECTORY = 0o755


class Edit(Protocol):
    """How our part gets into a file, and out of it. Both raise ObolError where that cannot be done."""

    def applied(self, before: str | None) -> str:
        """What the file is to hold; `before` is what it holds without us, None where there is none."""
        ...

    def taken_out(self, now: str, original: str | None, written: str) -> str:
        """What is left of a file that was edited after we wrote `written` over `original`."""
        ...


@dataclass(frozen=True, slots=True)
class EditedFile:
    """What became of one file."""

    path: str
    action: Action


@dataclass(frozen=True, slots=True)
class Record:
    """What there is to know about one file that we changed."""

    path: str
    original: str | None
    """None: there was no file."""
    written: tuple[str, ...]
    """All that we wrote, the last one last."""
    made: tuple[str, ...]
    """Directories that we made for it, the outermost first."""


@dataclass(frozen=True, slots=True)
class Originals:
    """The records, in a directory of ours.

    Every method raises ObolError where a file or directory cannot be used.
    """

    directory: Path
    account: User | None = None
    """Whom records belong to, where sudo made us root."""

    def check(self, path: Path, edit: Edit) -> str:
        """Give what `write` would write, and raise what it would raise because of what the file holds."""
        with explained(path):
            path = find_ours(path).path
            now, record = _read(path), self._recall(path)
            return edit.applied(now if record is None else _without_us(now, record, edit))

    def check_undo(self, path: Path, edit: Edit) -> None:
        """Raise what `undo` would raise because of what the file holds; nothing is changed."""
        with explained(path):
            path = find_ours(path).path
            now, record = _read(path), self._recall(path)
            if record is not None:
                _undoing(now, record, edit)

    def write(self, path: Path, edit: Edit, owner: User | None = None) -> EditedFile:
        """Bring our part into a file. What it held before the first time is kept.

        New files and directories belong to `owner`, if one is given; a file that is there keeps its owner and mode.
        """
        with explained(path), self._turn():
            path = find_ours(path).path
            now, record = _read(path), self._recall(path)
            base = now if record is None else _without_us(now, record, edit)
            wanted = edit.applied(base)
            if wanted == now:
                return EditedFile(str(path), "unchanged")
            made = tuple(str(missing) for missing in _missing(path.parent))
            self._remember(_extended(record or Record(str(path), base, (), ()), base, wanted, made))
            try:
                _make(path.parent, _READABLE_DIRECTORY, owner)
                _replace(path, wanted, owner)
            except OSError:
                _remove_directories(made)
                self._forget(path) if record is None else self._remember(record)
                raise
            return EditedFile(str(path), "written")

    def undo(self, path: Path, edit: Edit) -> EditedFile:
        """Put a file back as it was; edits that were made since stay, if `edit` can tell them from ours."""
        with explained(path), self._turn():
            path = find_ours(path).path
            now, record = _read(path), self._recall(path)
            if record is None:
                return EditedFile(str(path), "unchanged")
            action, wanted = _undoing(now, record, edit)
            if wanted is None:
                path.unlink(missing_ok=True)
            elif wanted != now:
                _replace(path, wanted, None)
            path.with_name(_temporary(path.name)).unlink(missing_ok=True)
            _remove_directories(record.made)
            self._forget(path)
            return EditedFile(str(path), action)

    def changed_below(self, root: Path) -> tuple[Path, ...]:
        """The files at or below `root` that we changed, in the order of their names."""
        root = Path(os.path.realpath(root))
        with explained(self.directory):
            records = [self._read_record(found) for found in sorted(self.directory.glob("*.json"))]
        paths = [Path(record.path) for record in records if record is not None]
        return tuple(sorted(path for path in paths if path == root or root in path.parents))

    def _record_file(self, path: Path) -> Path:
        return self.directory / f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}.json"

    def _recall(self, path: Path) -> Record | None:
        return self._read_record(self._record_file(path))

    def _read_record(self, file: Path) -> Record | None:
        try:
            return msgspec.convert(json.loads(read(file)), Record)
        except FileNotFoundError:
            return None
        except (ValueError, msgspec.ValidationError) as problem:
            raise ObolError(
                f"{file} cannot be read",
                why=f"it says what a file of another program held before us, but it is spoilt: {problem}",
                hint="look at the file that it names; remove the record when that is as you want it",
            ) from problem

    def _remember(self, record: Record) -> None:
        path = self._record_file(Path(record.path))
        # The standard library's JSON carries paths that are not UTF-8, as escapes.
        _replace(path, json.dumps(asdict(record)), self.account, PRIVATE_FILE)

    def _forget(self, path: Path) -> None:
        self._record_file(path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One command at a time, or the second would take the first one's text for the original."""
        _make(self.directory, PRIVATE_DIRECTORY, self.account)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            locks.take(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)


def _extended(record: Record, base: str | None, wanted: str, made: tuple[str, ...]) -> Record:
    written = (*(text for text in record.written if text != wanted), wanted)
    directories = (*record.made, *(directory for directory in made if directory not in record.made))
    return replace(record, original=base, written=written, made=directories)


def _without_us(now: str | None, record: Record, edit: Edit) -> str | None:
    """What the file would hold if we had never written."""
    if now is None or now == record.original:
        return now
    if now in record.written:
        return record.original
    return edit.taken_out(now, record.original, record.written[-1])


def _undoing(now: str | None, record: Record, edit: Edit) -> tuple[Action, str | None]:
    """What an undo does, and what the file is to hold then."""
    if now is None or now == record.original:
        return "gone", now
    if now in record.written:
        return ("removed" if record.original is None else "restored"), record.original
    rest = edit.taken_out(now, record.original, record.written[-1])
    return ("gone" if rest == now else "merged"), rest


def _read(path: Path) -> str | None:
    try:
        return read_text(path)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as problem:
        raise ObolError(
            f"{path} cannot be changed", why="it is not UTF-8 text", hint="save it as UTF-8, or name another file"
        ) from problem


def _replace(path: Path, text: str, owner: User | None, mode: int | None = None) -> None:
    """Let the file hold `text`, whole at any moment, with the owner and mode that it has."""
    regular.replace(find_ours(path), text.encode(), mode=mode, owner=owner, temporary=_temporary(path.name))


def _temporary(name: str) -> str:
    """The name of what is being written: always the same, so that what a crash left behind is found again."""
    return f".{name}.obol-new"


def _missing(directory: Path) -> list[Path]:
    """The directories that would have to be made, the outermost first."""
    return [path for path in (*reversed(directory.parents), directory) if not path.exists()]


def _make(directory: Path, mode: int, owner: User | None) -> None:
    for missing in _missing(directory):
        missing.mkdir(mode, exist_ok=True)
        missing.chmod(mode)  # whatever the umask is: the programs of other users read what is in it
        if owner is not None:
            os.chown(missing, owner.uid, owner.gid)


def _remove_directories(made: tuple[str, ...]) -> None:
    """Those that are still empty."""
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
