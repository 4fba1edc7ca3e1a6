from dataclasses import replace
from pathlib import Path

import pytest

from obol.caches.clients import docker as dockersettings
from obol.caches.clients.docker import docker_conflicts, file_of, usual_file
from obol.caches.clients.files import ConfigHome
from obol.machine.daemons import Word
from tests.unit.caches.clients.disk import put

MIRROR = '{"registry-mirrors": ["http://127.0.0.1:54100"]}'


@pytest.fixture
def where(tmp_path: Path) -> ConfigHome:
    """A whole machine below a temporary directory."""
    return ConfigHome(tmp_path / "home", per_user=False, root=tmp_path)


def unit(where: ConfigHome, flags: str, name: str = "docker.service") -> Path:
    """Let a unit start dockerd so."""
    text = f"[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/bin/dockerd {flags}\n"
    return put(where.root / "usr/lib/systemd/system" / name, text)


def conflicts(where: ConfigHome, text: str = MIRROR) -> list[str]:
    """Why dockerd would not start."""
    return list(docker_conflicts(file_of("docker", where), text, where))


@pytest.mark.parametrize("flag", ["--registry-mirror=https://a", "--registry-mirror https://a"])
def test_flag_of_the_unit(flag: str, where: ConfigHome) -> None:
    """A mirror among the flags of the unit stops dockerd, and the unit's file is named."""
    path = unit(where, f"-H fd:// {flag}")

    (told,) = conflicts(where)

    assert told.startswith(f"{path} starts dockerd with --registry-mirror; with registry-mirrors in ")


@pytest.mark.parametrize("name", ["etc/default/docker", "etc/sysconfig/docker", "etc/conf.d/docker"])
@pytest.mark.parametrize("has_unit", [False, True])
def test_init_files(name: str, has_unit: bool, where: ConfigHome) -> None:
    """A file of variables counts where a unit reads it, or where there is no unit."""
    path = put(where.root / name, 'DOCKER_OPTS="--registry-mirror=https://a"\n')
    if has_unit:
        unit(where, "$DOCKER_OPTS")

    told = conflicts(where)

    assert [one.partition(" ")[0] for one in told] == ([str(path)] if not has_unit or "default" in name else [])


def test_running(where: ConfigHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dockerd that somebody started by hand counts, too."""
    words = tuple(Word(word, "process 7") for word in ("dockerd", "--registry-mirror=https://a"))
    monkeypatch.setattr(dockersettings, "running_commands", lambda *_: (words,))

    assert conflicts(where)[0].startswith("process 7 starts dockerd with --registry-mirror")


def test_what_was_wrong_before(where: ConfigHome) -> None:
    """Other settings that are given twice are told, too: after a restart dockerd would not start."""
    unit(where, "-H fd:// --insecure-registry=x --log-opt a=b --debug")
    text = '{"hosts": [], "insecure-registries": [], "log-opts": {"a": "b"}, "debug": true, "registry-mirrors": []}'

    told = [one.partition("starts dockerd with ")[2].partition(";")[0] for one in conflicts(where, text)]

    assert told == ["--debug", "--insecure-registry", "--log-opt", "-H"]


def test_another_file(where: ConfigHome, tmp_path: Path) -> None:
    """The file is the one that the unit names, and another one is not read by that dockerd."""
    unit(where, f"--config-file={tmp_path}/x.json --registry-mirror=https://a")

    assert file_of("docker", where) == tmp_path / "x.json"
    assert conflicts(where)
    assert list(docker_conflicts(tmp_path / "other.json", MIRROR, where)) == []


def test_snap(where: ConfigHome) -> None:
    """The dockerd of a snap reads its own file."""
    unit(where, "", "snap.docker.dockerd.service")

    assert file_of("docker", where) == where.root / "var/snap/docker/current/config/daemon.json"


def test_rootless(where: ConfigHome, tmp_path: Path) -> None:
    """A dockerd of a person goes by their units and their directory of configuration."""
    own = replace(where, per_user=True, environ={"XDG_CONFIG_HOME": str(tmp_path / "cfg")})
    unit(where, "--registry-mirror=https://a")
    assert file_of("docker", own) == tmp_path / "cfg/docker/daemon.json"
    assert conflicts(own) == []

    put(
        tmp_path / "cfg/systemd/user/docker.service",
        "[Service]\nExecStart=/usr/bin/dockerd-rootless.sh --registry-mirror=https://b\n",
    )
    assert len(conflicts(own)) == 1


def test_buildkit(where: ConfigHome, tmp_path: Path) -> None:
    """A buildkitd reads the file that its unit names."""
    assert file_of("buildkit", where) == usual_file("buildkit", where) == tmp_path / "etc/buildkit/buildkitd.toml"
    put(tmp_path / "etc/systemd/system/buildkit.service", "[Service]\nExecStart=/x/buildkitd --config /y.toml\n")

    assert str(file_of("buildkit", where)) == "/y.toml"
