"""What tags and grants became, line by line in `names.jsonl`, so that a damaged index can be filled again.

Blobs can be found again by their files; names can not, and without them nothing may be read offline. Only changes are
written: a line is JSON that says what a tag means, which digests may be read in a repository, what an upstream
gave, or that nothing of a repository may be read any more. The file is a help, not a record to rely on: lines are not
synced, a line that was torn by a crash or makes no sense is passed over, and the same line twice does no harm.
Everything here runs in the thread of the index.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from obol.machine.files import Folder, write_all
from obol.oci.errors import OciError
from obol.oci.references import Digest, Repository, Tag
from obol.registry.store.layout import JOURNAL
from obol.registry.store.ports import (
    ContentKind,
    Grant,
    GrantDeleted,
    HeldTag,
    Provenance,
    RepositoryKey,
    Revoked,
    TagDeleted,
)

Deletion = Revoked | TagDeleted | GrantDeleted
Change = HeldTag | Provenance | Deletion
Entry = tuple[RepositoryKey, Change | tuple[Grant, ...]]

ANYWHERE = Repository("any")
"""Stands for the repository where a change is of a whole scope."""
_GRANTS_IN_A_LINE = 200
_LONGEST_LINE = 1 << 20


class _Line(msgspec.Struct, frozen=True, rename={"scope": "space", "grants": "rights"}):
    """The words of a line are those of the first version: journals of it are out there."""

    scope: str


class _TagSet(_Line, frozen=True, tag="point"):
    repository: str
    tag: str
    variant: str
    digest: str
    media_type: str
    checked_at: float


class _Granted(_Line, frozen=True, tag="grant"):
    repository: str
    grants: tuple[tuple[str, ContentKind, str, int | None], ...]


class _Received(_Line, frozen=True, tag="given"):
    digest: str
    media_type: str


class _Revoked(_Line, frozen=True, tag="revoke"):
    repository: str


class _TagDeleted(_Line, frozen=True, tag="delete-tag"):
    repository: str
    tag: str


class _GrantDeleted(_Line, frozen=True, tag="delete-grant"):
    repository: str
    digest: str
    kind: ContentKind


_Event = _TagSet | _Granted | _Received | _Revoked | _TagDeleted | _GrantDeleted

# msgspec takes no subclasses of str, which digests, tags and repositories are.
_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder(_Event)


class Journal:
    """The open file, and how long it is."""

    def __init__(self, home: Folder) -> None:
        self._home = home
        self._descriptor = _open(home)
        self.size = os.fstat(self._descriptor).st_size
        """Bytes."""
        # What the last process left may end within a line; an empty line more is passed over like any other.
        self._torn = self.size > 0

    def close(self) -> None:
        """Give the file back; safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def append(self, repo: RepositoryKey, change: Change | Sequence[Grant]) -> None:
        """Write down one change. Raises OSError; a line that did not fit is then no line."""
        data = (b"\n" if self._torn else b"") + b"".join(_lines(repo, change))
        self._torn = True
        write_all(self._descriptor, data)
        self._torn = False
        self.size += len(data)

    def entries(self) -> Iterator[Entry]:
        """Every change that was written, oldest first. Raises OSError."""
        reading = self._home.open(JOURNAL)
        if reading is None:
            return
        with os.fdopen(reading, "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if (entry := _parse(line)) is not None:
                    yield entry

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Let the journal hold just these, durably. Raises OSError, and the old one is kept."""
        self._home.replace(JOURNAL, (line for repo, change in entries for line in _lines(repo, change)))
        self.close()
        self._descriptor = _open(self._home)
        self.size = os.fstat(self._descriptor).st_size
        self._torn = False


def _open(home: Folder) -> int:
    descriptor = home.open(JOURNAL, os.O_WRONLY | os.O_APPEND)
    if descriptor is not None:
        return descriptor
    home.clear(JOURNAL)
    os.close(home.create(JOURNAL))
    if (descriptor := home.open(JOURNAL, os.O_WRONLY | os.O_APPEND)) is None:
        raise FileNotFoundError(JOURNAL)
    return descriptor


def _lines(repo: RepositoryKey, change: Change | Sequence[Grant]) -> Iterator[bytes]:
    match change:
        case HeldTag(tag, variant, digest, media_type, checked_at):
            yield _line(_TagSet(repo.scope, repo.name, tag, variant, digest, media_type, checked_at))
        case Provenance(digest, media_type):
            yield _line(_Received(repo.scope, digest, media_type))
        case Revoked():
            yield _line(_Revoked(repo.scope, repo.name))
        case TagDeleted(tag):
            yield _line(_TagDeleted(repo.scope, repo.name, tag))
        case GrantDeleted(digest, kind):
            yield _line(_GrantDeleted(repo.scope, repo.name, digest, kind))
        case _:
            for start in range(0, len(change), _GRANTS_IN_A_LINE):
                grants = change[start : start + _GRANTS_IN_A_LINE]
                values = tuple((grant.digest, grant.kind, grant.media_type, grant.size) for grant in grants)
                yield _line(_Granted(repo.scope, repo.name, values))


def _line(event: _Event) -> bytes:
    return _encoder.encode(event) + b"\n"


def _parse(line: bytes) -> Entry | None:
    try:
        return _entry(_decoder.decode(line))
    except (msgspec.DecodeError, OciError, ValueError):
        return None


def _entry(event: _Event) -> Entry:
    if isinstance(event, _Received):
        return RepositoryKey(event.scope, ANYWHERE), Provenance(Digest.parse(event.digest), event.media_type)
    repo = RepositoryKey(event.scope, Repository.parse(event.repository))
    match event:
        case _TagSet(tag=tag, variant=variant, digest=digest, media_type=media_type, checked_at=checked_at):
            return repo, HeldTag(Tag.parse(tag), variant, Digest.parse(digest), media_type, checked_at)
        case _Revoked():
            return repo, Revoked()
        case _TagDeleted(tag=tag):
            return repo, TagDeleted(Tag.parse(tag))
        case _GrantDeleted(digest=digest, kind=kind):
            return repo, GrantDeleted(Digest.parse(digest), kind)
        case _Granted(grants=grants):
            return repo, tuple(
                Grant(Digest.parse(digest), kind, media_type, size) for digest, kind, media_type, size in grants
            )
