import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from obol.machine.files import Folder
from obol.oci.references import Digest, Repository, Tag
from obol.registry.store.disk.journal import ANYWHERE, Journal
from obol.registry.store.ports import ContentKind, Grant, HeldTag, Provenance, RepositoryKey, Revoked

ALPINE = RepositoryKey("docker.io", Repository("library/alpine"))
LATEST = HeldTag(Tag("latest"), "oci-index", Digest.of(b"1"), "application/json", 5.5)
RIGHTS = tuple(Grant(Digest.of(b"%d" % number), ContentKind.BLOB, "", number or None) for number in range(450))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Folder]:
    """The store's directory."""
    with Folder.at(tmp_path) as folder:
        yield folder


@pytest.fixture
def journal(home: Folder) -> Iterator[Journal]:
    """A new journal."""
    made = Journal(home)
    yield made
    made.close()
    made.close()


def test_round_trip(journal: Journal, home: Folder, tmp_path: Path) -> None:
    """What was appended is read again, by this process and the next; long lists take several lines."""
    journal.append(ALPINE, LATEST)
    journal.append(ALPINE, RIGHTS)
    again = Journal(home)

    for reading in (journal, again):
        first, *others = reading.entries()
        assert first == (ALPINE, LATEST)
        assert len(others) == 3
        assert tuple(grant for _, grants in others if isinstance(grants, tuple) for grant in grants) == RIGHTS
    assert again.size == journal.size == (tmp_path / "names.jsonl").stat().st_size
    assert stat.S_IMODE((tmp_path / "names.jsonl").stat().st_mode) == 0o600
    again.close()


def test_empty(journal: Journal) -> None:
    """A new journal says nothing."""
    assert list(journal.entries()) == []


def test_torn_line(journal: Journal, home: Folder, tmp_path: Path) -> None:
    """A line that a crash tore is passed over, and does not spoil the next one."""
    journal.append(ALPINE, LATEST)
    journal.append(ALPINE, replace(LATEST, tag=Tag("torn")))
    os.truncate(tmp_path / "names.jsonl", journal.size - 7)
    again = Journal(home)
    later = replace(LATEST, tag=Tag("later"))

    again.append(ALPINE, later)

    assert list(again.entries()) == [(ALPINE, LATEST), (ALPINE, later)]
    again.close()


def test_failed_append(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that the disk took in part is none, and does not spoil the next one."""
    real = os.write
    calls: list[int] = []

    def write(descriptor: int, data: memoryview) -> int:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(OSError, match="full"):
            journal.append(ALPINE, replace(LATEST, tag=Tag("lost")))
    journal.append(ALPINE, LATEST)

    assert list(journal.entries()) == [(ALPINE, LATEST)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'"\xff"',
        b"{" * 5000,
        b'{"type":"revoke"}',
        b'{"type":"grant","space":"docker.io","repository":"../up","rights":[]}',
        b'{"type":"grant","space":"docker.io","repository":"a","rights":[["sha256:../../x","blob","",1]]}',
        b'{"type":"grant","space":"docker.io","repository":"a","rights":[["sha256:00","sock","",1]]}',
        b"x" * (3 << 20),
    ],
)
def test_senseless_lines(journal: Journal, tmp_path: Path, line: bytes) -> None:
    """A line that makes no sense, or names what cannot be, is passed over."""
    journal.append(ALPINE, LATEST)
    with (tmp_path / "names.jsonl").open("ab") as file:
        file.write(line + b"\n")
    journal.append(ALPINE, LATEST)

    assert list(journal.entries()) == [(ALPINE, LATEST)] * 2


def test_rewrite(journal: Journal, tmp_path: Path) -> None:
    """A rewritten journal holds just what it was given, is shorter, and goes on."""
    for _ in range(50):
        journal.append(ALPINE, LATEST)
    long = journal.size
    other = replace(LATEST, tag=Tag("other"))

    journal.rewrite([(ALPINE, LATEST)])
    short = journal.size
    journal.append(ALPINE, other)

    assert list(journal.entries()) == [(ALPINE, LATEST), (ALPINE, other)]
    assert short < long / 10
    assert journal.size == (tmp_path / "names.jsonl").stat().st_size


def test_link(home: Folder, tmp_path: Path) -> None:
    """A link in place of the journal is not followed."""
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "names.jsonl").symlink_to(tmp_path / "elsewhere")

    journal = Journal(home)
    journal.append(ALPINE, LATEST)
    journal.close()

    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_removed(journal: Journal, home: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that was removed while we run says nothing; one that cannot be made is an error."""
    home.unlink("names.jsonl")

    assert list(journal.entries()) == []
    monkeypatch.setattr(Folder, "open", lambda *_: None)
    with pytest.raises(FileNotFoundError):
        Journal(home)


def test_other_changes(journal: Journal) -> None:
    """That content was given, of which repository does not matter, and that all rights of a repository have ended."""
    gift = Provenance(Digest.of(b"1"), "application/x")
    journal.append(ALPINE, gift)
    journal.append(ALPINE, Revoked())

    assert list(journal.entries()) == [(RepositoryKey("docker.io", ANYWHERE), gift), (ALPINE, Revoked())]
