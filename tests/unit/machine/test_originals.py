import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from obol.errors import ObolError
from obol.machine import originals
from obol.machine.commands import User
from obol.machine.originals import EditedFile, Originals
from tests.unit.machine.odd import KINDS, put_odd


@dataclass(frozen=True)
class Line:
    """Our part is a last line."""

    text: str = "ours\n"
    fails: bool = False

    def applied(self, before: str | None) -> str:
        if self.fails:
            raise ObolError("no room")
        return (before or "") + self.text

    def taken_out(self, now: str, original: str | None, written: str) -> str:
        """Remove it, whichever it was."""
        del original
        line = written.splitlines(keepends=True)[-1]
        if "do not touch" in now:
            raise ObolError("edited")
        return now.replace(line, "")


@pytest.fixture
def kept(tmp_path: Path) -> Originals:
    """Records in a directory that is not there yet."""
    return Originals(tmp_path / "state/obol/clients")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in a directory that is not there yet."""
    return tmp_path / "etc/docker/daemon.json"


def put(path: Path, text: str) -> None:
    """Let a file of somebody else be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def records(kept: Originals) -> list[Path]:
    """What is in the state directory."""
    return list(kept.directory.iterdir())


def test_nothing_was_there(kept: Originals, path: Path, tmp_path: Path) -> None:
    """A new file goes with the directories that were made for it, and leaves no record."""
    assert kept.write(path, Line()) == EditedFile(str(path), "written")
    assert path.read_text() == "ours\n"

    assert kept.undo(path, Line()) == EditedFile(str(path), "removed")
    assert not (tmp_path / "etc").exists()
    assert records(kept) == []


def test_back_to_the_last_byte(kept: Originals, path: Path) -> None:
    """A file that was there comes back to the last byte, with its mode; its directory stays."""
    put(path, "a\r\nb \u00e9 without end")
    path.chmod(0o640)

    kept.write(path, Line())
    assert path.read_bytes() == "a\r\nb \u00e9 without endours\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640

    assert kept.undo(path, Line()).action == "restored"
    assert path.read_bytes() == "a\r\nb \u00e9 without end".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_twice(kept: Originals, path: Path) -> None:
    """A second write changes nothing, and the first original is the one that comes back."""
    put(path, "a\n")

    kept.write(path, Line())
    assert kept.write(path, Line()).action == "unchanged"
    kept.write(path, Line("other port\n"))
    assert path.read_text() == "a\nother port\n"

    assert kept.undo(path, Line()).action == "restored"
    assert path.read_text() == "a\n"
    assert kept.undo(path, Line()).action == "unchanged"


def test_edited(kept: Originals, path: Path) -> None:
    """Edits that were made after us stay, and only our part goes."""
    put(path, "a\n")
    kept.write(path, Line())
    path.write_text("a\nours\nb\n")

    assert kept.undo(path, Line()).action == "merged"
    assert path.read_text() == "a\nb\n"
    assert records(kept) == []


def test_edited_and_written_again(kept: Originals, path: Path) -> None:
    """Edits become part of what comes back."""
    put(path, "a\n")
    kept.write(path, Line())
    path.write_text("a\nours\nb\n")

    kept.write(path, Line("other port\n"))
    assert path.read_text() == "a\nb\nother port\n"

    kept.undo(path, Line())
    assert path.read_text() == "a\nb\n"


def test_edited_beyond_us(kept: Originals, path: Path) -> None:
    """Where our part cannot be told from an edit, nothing is done, and the record stays."""
    kept.write(path, Line())
    path.write_text("do not touch\n")

    for act in (kept.undo, kept.check_undo, kept.write, kept.check):
        with pytest.raises(ObolError, match="edited"):
            act(path, Line())
    assert path.read_text() == "do not touch\n"
    assert len(records(kept)) == 1


def test_taken_out_by_hand(kept: Originals, path: Path) -> None:
    """Whoever took our part out themselves is told that nothing of it is there; the record goes."""
    put(path, "a\n")
    kept.write(path, Line())
    path.write_text("b\n")

    assert kept.undo(path, Line()).action == "gone"
    assert path.read_text() == "b\n"
    assert records(kept) == []


def test_removed_by_hand(kept: Originals, path: Path, tmp_path: Path) -> None:
    """A file that somebody removed does not come back, but a write makes it anew."""
    put(path, "a\n")
    kept.write(path, Line())
    path.unlink()

    kept.write(path, Line("again\n"))
    assert path.read_text() == "again\n"
    path.unlink()
    assert kept.undo(path, Line()).action == "gone"
    assert not path.exists()


def test_our_part_was_there(kept: Originals, path: Path) -> None:
    """Where the file says it already, it is left alone, now and by an undo."""
    put(path, "a\n")

    assert kept.write(path, Line("")).action == "unchanged"
    assert kept.undo(path, Line("")).action == "unchanged"
    assert path.read_text() == "a\n"


def test_no_room(kept: Originals, path: Path) -> None:
    """A part that does not fit into the file leaves all as it was."""
    put(path, "a\n")

    for act in (kept.check, kept.write):
        with pytest.raises(ObolError, match="no room"):
            act(path, Line(fails=True))
    kept.check(path, Line())
    assert path.read_text() == "a\n"
    assert records(kept) == []


class TestInterrupted:
    """The machine may stop between any two steps."""

    def test_between_keeping_and_writing(self, kept: Originals, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the original kept and the file not written, both an undo and another write find their way."""
        put(path, "a\n")
        self._die_at(monkeypatch, path)
        with pytest.raises(KeyboardInterrupt):
            kept.write(path, Line())
        monkeypatch.undo()
        assert (path.read_text(), len(records(kept))) == ("a\n", 1)

        kept.write(path, Line())
        assert path.read_text() == "a\nours\n"
        kept.undo(path, Line())
        assert path.read_text() == "a\n"

    def test_undo_of_what_was_not_written(
        self, kept: Originals, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An undo takes back the directories, too, where the file never came to be."""
        self._die_at(monkeypatch, path)
        with pytest.raises(KeyboardInterrupt):
            kept.write(path, Line())
        monkeypatch.undo()

        assert kept.undo(path, Line()).action == "gone"
        assert not (tmp_path / "etc").exists()
        assert records(kept) == []

    def test_while_changing_what_we_wrote(self, kept: Originals, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The former text is still known for ours when the new one did not get there."""
        put(path, "a\n")
        kept.write(path, Line())
        self._die_at(monkeypatch, path)
        with pytest.raises(KeyboardInterrupt):
            kept.write(path, Line("other port\n"))
        monkeypatch.undo()
        assert path.read_text() == "a\nours\n"

        assert kept.undo(path, Line()).action == "restored"
        assert path.read_text() == "a\n"

    def test_while_undoing(self, kept: Originals, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that is back already while its record is still there is left as it is."""
        put(path, "a\n")
        kept.write(path, Line())
        path.write_text("a\n")

        assert kept.undo(path, Line()).action == "gone"
        assert (path.read_text(), records(kept)) == ("a\n", [])

    def test_killed_while_writing(self, kept: Originals, path: Path, tmp_path: Path) -> None:
        """Half a file under another name stands in nobody's way, and goes."""
        kept.write(path, Line())
        (path.parent / ".daemon.json.obol-new").write_text("ou")
        kept.write(path, Line("other port\n"))
        (path.parent / ".daemon.json.obol-new").write_text("ou")

        kept.check_undo(path, Line())
        kept.undo(path, Line())
        assert not (tmp_path / "etc").exists()

    @staticmethod
    def _die_at(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        replace = originals._replace

        def dying(target: Path, text: str, owner: User | None, mode: int | None = None) -> None:
            if target == path:
                raise KeyboardInterrupt
            replace(target, text, owner, mode)

        monkeypatch.setattr(originals, "_replace", dying)


def test_cannot_be_written(kept: Originals, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file may not be written, the way out is told, and no record and no directory is left."""
    replace = originals._replace

    def refusing(target: Path, text: str, owner: User | None, mode: int | None = None) -> None:
        if target == path:
            raise PermissionError(13, "Permission denied", str(target))
        replace(target, text, owner, mode)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(originals, "_replace", refusing)

    with pytest.raises(ObolError, match="Permission denied") as caught:
        kept.write(path, Line())
    assert "sudo" in caught.value.hint
    assert records(kept) == []
    assert not (tmp_path / "etc").exists()


def test_cannot_be_rewritten(kept: Originals, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second write that fails leaves the record of the first."""
    kept.write(path, Line())
    before = records(kept)[0].read_bytes()
    replace = originals._replace

    def full(target: Path, text: str, owner: User | None, mode: int | None = None) -> None:
        if target == path:
            raise OSError(28, "No space left on device", str(target))
        replace(target, text, owner, mode)

    monkeypatch.setattr(originals, "_replace", full)

    with pytest.raises(ObolError, match="No space left"):
        kept.write(path, Line("other\n"))
    assert records(kept)[0].read_bytes() == before


def test_a_link(kept: Originals, path: Path, tmp_path: Path) -> None:
    """A symbolic link stays one: the file that it leads to is changed."""
    put(tmp_path / "dotfiles/daemon.json", "a\n")
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "dotfiles/daemon.json")

    kept.write(path, Line())
    assert path.is_symlink()
    assert kept.changed_below(path) == (tmp_path / "dotfiles/daemon.json",)
    kept.undo(path, Line())
    assert path.read_text() == "a\n"


def test_records_are_private(kept: Originals, path: Path) -> None:
    """What a file held may be secret: only its owner reads the record, whatever the file's own mode is."""
    put(path, "secret\n")

    kept.write(path, Line())

    (record,) = records(kept)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["daemon.json"]


def test_others_can_read(kept: Originals, path: Path) -> None:
    """What we make is for programs of other users, whatever the umask is."""
    before = os.umask(0o077)
    try:
        kept.write(path, Line())
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_under_sudo(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records belong to the person, and so do new files of theirs; a file that is there keeps its owner."""
    monkeypatch.setenv("SUDO_UID", "4711")
    person, other = User(4711, 4712), User(4711, 2)
    kept = Originals(tmp_path / "state/obol/clients", person)
    put(tmp_path / "theirs", "a\n")
    os.chown(tmp_path / "theirs", other.uid, other.gid)

    kept.write(path, Line(), person)
    kept.write(tmp_path / "theirs", Line(), person)

    found = [*records(kept), kept.directory, kept.directory.parent, path, path.parent]
    assert {(entry.stat().st_uid, entry.stat().st_gid) for entry in found} == {(4711, 4712)}
    assert (tmp_path / "theirs").stat().st_gid == 2
    kept.undo(tmp_path / "theirs", Line())
    assert (tmp_path / "theirs").stat().st_gid == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", [False, True])
def test_no_plain_file(kind: str, written: bool, kept: Originals, path: Path, tmp_path: Path) -> None:
    """What is no plain file, or has become none, is refused with a sentence by each verb, and nothing is touched."""
    if written:
        kept.write(path, Line())
        path.unlink()
    put_odd(kind, path, tmp_path)
    before = path.lstat()

    for act in (kept.check, kept.write, kept.check_undo, kept.undo):
        with pytest.raises(ObolError, match=r"not a file|in a circle|more than|not UTF-8") as caught:
            act(path, Line())
        assert caught.value.hint
    assert (path.lstat()[:7], path.lstat().st_mtime_ns) == (before[:7], before.st_mtime_ns)  # not when it was read
    assert [entry.name for entry in path.parent.iterdir() if "obol" in entry.name] == []


def test_a_path_that_is_not_utf8(kept: Originals, tmp_path: Path) -> None:
    """A path of any bytes is remembered, and its file comes back."""
    path = tmp_path / os.fsdecode(b"h\xf6me") / "daemon.json"
    put(path, "a\n")

    kept.write(path, Line())
    assert kept.changed_below(path.parent) == (path,)
    assert kept.undo(path, Line()).action == "restored"
    assert path.read_text() == "a\n"


def test_changed_below(kept: Originals, tmp_path: Path) -> None:
    """What we changed is found by its directory, and what is outside of it is not."""
    for name in ("certs.d/quay.io/hosts.toml", "certs.d/docker.io/hosts.toml", "certs.dx"):
        kept.write(tmp_path / name, Line())

    assert kept.changed_below(tmp_path / "certs.d") == (
        tmp_path / "certs.d/docker.io/hosts.toml",
        tmp_path / "certs.d/quay.io/hosts.toml",
    )
    assert kept.changed_below(tmp_path / "nowhere") == ()


def test_spoilt_record(kept: Originals, path: Path) -> None:
    """A record that cannot be read is told of, and nothing is done without it."""
    kept.write(path, Line())
    records(kept)[0].write_text("{")

    with pytest.raises(ObolError, match="spoilt"):
        kept.undo(path, Line())
    assert path.read_text() == "ours\n"
