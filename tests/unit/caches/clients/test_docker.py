from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from obol.caches.clients import docker as dockersettings
from obol.caches.clients.docker import docker_conflicts, file_of, usual_file
from obol.caches.clients.place import Place
from obol.machine.daemons import Word

if TYPE_CHECKING:
    from pathlib import Path

MIRROR = '{"registry-mirrors": ["http://127.0.0.1:54100"]}'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A whole machine below a temporary directory."""
    return Place(tmp_path / "home", per_user=False, root=tmp_path)


def put(path: Path, text: str) -> Path:
    """Let a file be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def unit(place: Place, flags: str, name: str = "docker.service") -> Path:
    """Let a unit start dockerd so."""
    text = f"[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/bin/dockerd {flags}\n"
    return put(place.root / "usr/lib/systemd/system" / name, text)


def conflicts(place: Place, text: str = MIRROR) -> list[str]:
    """Why dockerd would not start."""
    return list(docker_conflicts(file_of("docker", place), text, place))


@pytest.mark.parametrize("flag", ["--registry-mirror=https://a", "--registry-mirror https://a"])
def test_flag_of_the_unit(flag: str, place: Place) -> None:
    """A mirror among the flags of the unit stops dockerd, and the unit's file is named."""
    path = unit(place, f"-H fd:// {flag}")

    (told,) = conflicts(place)

    assert told.startswith(f"{path} starts dockerd with --registry-mirror; with registry-mirrors in ")


@pytest.mark.parametrize("name", ["etc/default/docker", "etc/sysconfig/docker", "etc/conf.d/docker"])
@pytest.mark.parametrize("has_unit", [False, True])
def test_init_files(name: str, has_unit: bool, place: Place) -> None:
    """A file of variables counts where a unit reads it, or where there is no unit."""
    path = put(place.root / name, 'DOCKER_OPTS="--registry-mirror=https://a"\n')
    if has_unit:
        unit(place, "$DOCKER_OPTS")

    told = conflicts(place)

    assert [one.partition(" ")[0] for one in told] == ([str(path)] if not has_unit or "default" in name else [])


def test_running(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dockerd that somebody started by hand counts, too."""
    words = tuple(Word(word, "process 7") for word in ("dockerd", "--registry-mirror=https://a"))
    monkeypatch.setattr(dockersettings, "running_commands", lambda *_: (words,))

    assert conflicts(place)[0].startswith("process 7 starts dockerd with --registry-mirror")


def test_what_was_wrong_before(place: Place) -> None:
    """Other settings that are given twice are told, too: after a restart dockerd would not start."""
    unit(place, "-H fd:// --insecure-registry=x --log-opt a=b --debug")
    text = '{"hosts": [], "insecure-registries": [], "log-opts": {"a": "b"}, "debug": true, "registry-mirrors": []}'

    told = [one.partition("starts dockerd with ")[2].partition(";")[0] for one in conflicts(place, text)]

    assert told == ["--debug", "--insecure-registry", "--log-opt", "-H"]


def test_another_file(place: Place, tmp_path: Path) -> None:
    """The file is the one that the unit names, and another one is not read by that dockerd."""
    unit(place, f"--config-file={tmp_path}/x.json --registry-mirror=https://a")

    assert file_of("docker", place) == tmp_path / "x.json"
    assert conflicts(place)
    assert list(docker_conflicts(tmp_path / "other.json", MIRROR, place)) == []


def test_snap(place: Place) -> None:
    """The dockerd of a snap reads its own file."""
    unit(place, "", "snap.docker.dockerd.service")

    assert file_of("docker", place) == place.root / "var/snap/docker/current/config/daemon.json"


def test_rootless(place: Place, tmp_path: Path) -> None:
    """A dockerd of a person goes by their units and their directory of configuration."""
    own = replace(place, per_user=True, environ={"XDG_CONFIG_HOME": str(tmp_path / "cfg")})
    unit(place, "--registry-mirror=https://a")
    assert file_of("docker", own) == tmp_path / "cfg/docker/daemon.json"
    assert conflicts(own) == []

    put(
        tmp_path / "cfg/systemd/user/docker.service",
        "[Service]\nExecStart=/usr/bin/dockerd-rootless.sh --registry-mirror=https://b\n",
    )
    assert len(conflicts(own)) == 1


def test_buildkit(place: Place, tmp_path: Path) -> None:
    """A buildkitd reads the file that its unit names."""
    assert file_of("buildkit", place) == usual_file("buildkit", place) == tmp_path / "etc/buildkit/buildkitd.toml"
    put(tmp_path / "etc/systemd/system/buildkit.service", "[Service]\nExecStart=/x/buildkitd --config /y.toml\n")

    assert str(file_of("buildkit", place)) == "/y.toml"
