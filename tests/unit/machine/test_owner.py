from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from obol.machine.owner import become_owner

if TYPE_CHECKING:
    from pathlib import Path

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
