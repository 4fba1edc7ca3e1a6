import os
from pathlib import Path
from typing import NoReturn

import pytest

from obol.errors import DependencyMissing, ObolError
from obol.machine.privileges import PATIENCE, QUICK, AsRoot, become_owner
from tests.fakes.runner import FakeRunner


async def test_root() -> None:
    """Root needs nobody's leave, and has its environment."""
    runner = FakeRunner()

    await AsRoot(runner, 0).run(["kill", "7"], env={"A": "b"})

    assert runner.lines == ["kill 7"]
    assert (runner.ran[0].env, runner.ran[0].timeout) == ({"A": "b"}, QUICK)


async def test_sudo_without_a_password() -> None:
    """Who may use sudo freely is not asked, and sudo is tried once."""
    runner = FakeRunner()
    root = AsRoot(runner, 1000)

    await root.run(["kill", "7"])
    await root.must("no", ["kill", "8"])

    assert runner.lines == ["sudo -n true", "sudo -n kill 7", "sudo -n kill 8"]


async def test_sudo_asks() -> None:
    """Otherwise sudo asks for the password, and gives a person time to find it."""
    runner = FakeRunner()
    runner.script("sudo", "-n", "true", code=1, stderr="sudo: a password is required")

    await AsRoot(runner, 1000).authorise()

    assert runner.lines == ["sudo -n true", "sudo -v"]
    assert runner.ran[1].timeout == PATIENCE


async def test_nobody_is_there_to_ask() -> None:
    """Where nobody may be asked, that is told, and what to do."""
    runner = FakeRunner()
    runner.script("sudo", "-n", "true", code=1, stderr="sudo: a password is required\n")

    with pytest.raises(ObolError, match=r"OBOL_NONINTERACTIVE=true forbids to ask .* a password is required") as caught:
        await AsRoot(runner, 1000, interactive=False).run(["kill", "7"])

    assert "sudo -v" in caught.value.hint
    assert runner.lines == ["sudo -n true"]


async def test_refused() -> None:
    """A person who may not use sudo is told in its words, or in ours where it says nothing."""
    runner = FakeRunner()
    runner.script("sudo", "-n", "true", code=1)
    runner.script("sudo", "-v", code=1, stderr="me is not in the sudoers file.\n")
    runner.script("sudo", "-v", code=1)
    root = AsRoot(runner, 1000)

    with pytest.raises(ObolError, match="sudo does not allow it: me is not in the sudoers file"):
        await root.authorise()
    with pytest.raises(ObolError, match="sudo said no"):
        await root.authorise()


async def test_no_sudo() -> None:
    """Without sudo it takes root itself."""
    with pytest.raises(DependencyMissing, match="there is no sudo") as caught:
        await AsRoot(FakeRunner(missing={"sudo"}), 1000).authorise()

    assert "run obol as root" in caught.value.hint


@pytest.mark.parametrize(("stderr", "why"), [("a\nrm: cannot\n", "rm: cannot"), ("", "`rm` ended with 2")])
async def test_must(stderr: str, why: str) -> None:
    """What has to work and does not is told with its last word."""
    runner = FakeRunner()
    runner.script("rm", code=2, stderr=stderr)

    with pytest.raises(ObolError) as caught:
        await AsRoot(runner, 0).must("it stays", ["rm", "x"], hint="look")

    assert (caught.value.what, caught.value.why, caught.value.hint) == ("it stays", why, "look")


Called = list[tuple[str, object]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """What a process that believes to be root asks of the system, which does nothing."""
    calls: Called = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: calls.append((name, value)))
    return calls


def owned(monkeypatch: pytest.MonkeyPatch, path: Path, uid: int, gid: int) -> None:
    """Let a path look as if it were somebody's."""
    real = type(path).stat

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = list(real(self, follow_symlinks=follow_symlinks))
        if self == path:
            found[4:6] = [uid, gid]
        return os.stat_result(found)

    monkeypatch.setattr(type(path), "stat", stat)


def test_owner(called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root becomes the owner of the first path that is there; groups go first, while it still may."""
    owned(monkeypatch, tmp_path, 1000, 1001)

    become_owner(tmp_path / "not there", tmp_path, tmp_path / "..")

    assert called == [("setgroups", [1001]), ("setgid", 1001), ("setuid", 1000)]


def test_root_stays_root(called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory of root's is used by root, and so is one that is not there yet."""
    owned(monkeypatch, tmp_path, 0, 0)

    become_owner(tmp_path)
    become_owner(tmp_path / "not there")

    assert called == []


def test_others_stay_who_they_are(called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who is not root cannot become anybody, and does not try."""
    owned(monkeypatch, tmp_path, 1000, 1000)
    monkeypatch.setattr(os, "geteuid", lambda: 1002)

    become_owner(tmp_path)

    assert called == []


def test_without_the_capability(called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root that may not change who it is goes on as root."""
    owned(monkeypatch, tmp_path, 1000, 1000)

    def refuse(_groups: list[int]) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(os, "setgroups", refuse)

    become_owner(tmp_path)

    assert called == []
