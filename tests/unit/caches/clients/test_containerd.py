from pathlib import Path

import pytest

from obol.caches.clients.containerd import config_path_note, conflicts, folder_of, settings_of, trust
from obol.caches.clients.files import ConfigHome
from tests.unit.caches.clients.disk import put


@pytest.fixture
def where(tmp_path: Path) -> ConfigHome:
    """A whole machine below a temporary directory."""
    return ConfigHome(tmp_path / "home", per_user=False, root=tmp_path)


def config(where: ConfigHome, text: str) -> Path:
    """Let containerd have this configuration."""
    return put(where.etc / "containerd/config.toml", text)


@pytest.mark.parametrize(
    "text",
    [
        '[plugins.cri.registry]\nconfig_path = "/a:/b"\n',
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/a:/b"\n',
        'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/a:/b"\n',
        'version = 2\nimports = ["conf.d/*.toml", 3]\n',
    ],
)
def test_folders(text: str, where: ConfigHome) -> None:
    """The folders of hosts.toml are found in each version of the format, and in a file that is imported."""
    put(
        where.etc / "containerd/conf.d/x.toml",
        '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/a:/b"\n',
    )
    config(where, text)

    found = settings_of(where)

    assert [str(folder) for folder in found.folders] == ["/a", "/b"]
    assert config_path_note(found, found.folders[1]) == ""


def test_imported_in_a_circle(where: ConfigHome) -> None:
    """Files that import each other are read once each, and not for ever."""
    folder = config(where, 'imports = ["*.toml"]\n').parent
    for number in range(30):
        put(folder / f"{number}.toml", 'imports = ["*.toml"]\n')

    assert settings_of(where).folders == ()


def test_older_forms(where: ConfigHome, tmp_path: Path) -> None:
    """What containerd refuses beside a folder is named with the line that is missing."""
    config(
        where,
        "version = 1\n[plugins.cri.registry.mirrors.x]\n[plugins.cri.registry.configs.y.tls]\n"
        "[plugins.cri.registry.configs.z.auth]\n",
    )

    note = config_path_note(settings_of(where), tmp_path)

    assert "; its mirrors section and the tls of its configs section must go then" in note
    assert "[plugins.cri.registry] config_path" in note


def test_other_file(where: ConfigHome, tmp_path: Path) -> None:
    """The configuration is the file that the unit names."""
    put(tmp_path / "etc/systemd/system/containerd.service", "[Service]\nExecStart=/x/containerd -c /y/config.toml\n")

    assert str(settings_of(where).file) == "/y/config.toml"


def test_trust(tmp_path: Path) -> None:
    """Certificates of the first folder that there is for a registry are named; a certificate without a key is not."""
    for name in ("ca.crt", "b.crt", "me.cert", "me.key", "lonely.cert", "other.key", "notes.txt"):
        put(tmp_path / "b/quay.io" / name)
    put(tmp_path / "c/quay.io/never.crt")
    folder = tmp_path / "b/quay.io"

    found = trust("quay.io", (tmp_path / "a", tmp_path / "b", tmp_path / "c"))

    assert found.authorities == (str(folder / "b.crt"), str(folder / "ca.crt"))
    assert found.clients == ((str(folder / "me.cert"), str(folder / "me.key")),)
    assert trust("ghcr.io", (tmp_path / "a",)).authorities == ()


def test_folder_of(tmp_path: Path) -> None:
    """Of the two names for a registry with a port, that one is used which is there."""
    assert folder_of("corp:5000", tmp_path) == tmp_path / "corp:5000"
    (tmp_path / "corp_5000_").mkdir()
    assert folder_of("corp:5000", tmp_path) == tmp_path / "corp_5000_"


def test_conflicts(tmp_path: Path) -> None:
    """A hosts.toml elsewhere, or one for all registries, that ours would hide is told of."""
    own, other = tmp_path / "own", tmp_path / "other"
    assert list(conflicts("quay.io", (own, other))) == []
    theirs, default = put(other / "quay.io/hosts.toml"), put(own / "_default/hosts.toml")

    first, second = conflicts("quay.io", (own, other))

    assert first.startswith(f"{theirs} speaks of quay.io too")
    assert second == f"{default} would no longer be read for quay.io"
    (own / "quay.io").mkdir()  # then it was not read before, either
    assert len(list(conflicts("quay.io", (own,)))) == 0


@pytest.mark.parametrize("version", ["true", '"2"', "2.0"])
def test_version_of_an_odd_kind(version: str, where: ConfigHome) -> None:
    """A version that is no number is passed over."""
    config(where, f"version = {version}\n")

    assert settings_of(where).version == 2
