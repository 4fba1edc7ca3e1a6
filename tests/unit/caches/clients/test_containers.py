from dataclasses import replace
from pathlib import Path

import pytest

from obol.caches.clients.containers import conflicts, folders, narrower
from obol.caches.clients.files import ConfigHome
from tests.unit.caches.clients.disk import put

QUAY = '[[registry]]\nlocation = "quay.io"\n'


@pytest.fixture
def where(tmp_path: Path) -> ConfigHome:
    """A whole machine below a temporary directory."""
    return ConfigHome(tmp_path / "home", per_user=True, root=tmp_path)


def test_folders(where: ConfigHome, tmp_path: Path) -> None:
    """A drop-in goes where podman looks: also where a variable says so."""
    usual = tmp_path / "home/.config/containers/registries.conf.d"
    moved = replace(where, environ={"XDG_CONFIG_HOME": str(tmp_path / "cfg")})
    named = replace(where, environ={"CONTAINERS_REGISTRIES_CONF_DIR": str(tmp_path / "x")})

    assert folders(where) == (usual,)
    assert folders(moved) == (usual, tmp_path / "cfg/containers/registries.conf.d")
    assert folders(named) == (tmp_path / "x",)
    assert folders(replace(named, given=tmp_path / "y")) == (tmp_path / "y",)
    assert folders(replace(where, per_user=False)) == (tmp_path / "etc/containers/registries.conf.d",)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("registries.conf", QUAY, "has a [[registry]] for quay.io"),
        ("registries.conf", "[registries.block]\nregistries = ['quay.io']\n", "has a [[registry]] for quay.io"),
        ("registries.conf", "[registries.search]\nregistries = ['quay.io']\n", ""),
        ("registries.conf.d/x.conf", "[registries.search]\nregistries = ['quay.io']\n", "version 1 of the format"),
        ("registries.conf", f"[registries.search]\nregistries = []\n{QUAY}", "mixes the versions 1 and 2"),
        ("registries.conf.d/x.conf", "=", "cannot be read"),
        ("registries.conf.d/x.txt", QUAY, ""),
    ],
)
def test_conflicts(name: str, text: str, told: str, where: ConfigHome, tmp_path: Path) -> None:
    """Another file for the same registry is told of in both versions of the format, and so is a file that is spoilt."""
    put(tmp_path / "home/.config/containers" / name, text)

    found = list(conflicts(["quay.io"], where))

    assert len(found) == bool(told)
    assert told in "".join(found)


def test_named_file(where: ConfigHome, tmp_path: Path) -> None:
    """The main file may be another one, by a variable."""
    named = put(tmp_path / "x.conf", QUAY)
    put(tmp_path / "home/.config/containers/registries.conf", "=")

    (told,) = conflicts(["quay.io"], replace(where, environ={"CONTAINERS_REGISTRIES_CONF": str(named)}))

    assert told == f"{named} has a [[registry]] for quay.io"


def test_narrower(where: ConfigHome, tmp_path: Path) -> None:
    """A table for a part of a registry is no conflict, but its images are not mirrored: that is said."""
    path = put(tmp_path / "etc/containers/registries.conf", '[[registry]]\nprefix = "quay.io/team"\n')
    put(tmp_path / "etc/containers/registries.conf.d/x.conf", "=")

    (told,) = narrower(["quay.io"], where)

    assert told.startswith(f"{path} has a [[registry]] for quay.io/team")
