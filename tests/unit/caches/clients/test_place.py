from __future__ import annotations

import os
from typing import TYPE_CHECKING

from obol.caches.clients.place import Place
from obol.machine.commands import User

if TYPE_CHECKING:
    from pathlib import Path


def test_directories(tmp_path: Path) -> None:
    """A person's directories are those that XDG's variables name, if these are absolute."""
    given = {"XDG_CONFIG_HOME": "/cfg", "XDG_DATA_HOME": "relative"}

    place = Place(tmp_path, per_user=True, environ=given)

    assert (str(place.config), place.data) == ("/cfg", tmp_path / ".local/share")
    assert str(place.etc) == "/etc"


def test_uid(tmp_path: Path) -> None:
    """Under sudo the person is whom sudo made root."""
    assert Place(tmp_path, per_user=True).uid == os.geteuid()
    assert Place(tmp_path, per_user=True, owner=User(4711, 1)).uid == 4711
