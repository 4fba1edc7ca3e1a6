import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from obol.caches.clients.clients import ClientName, roots_of, setup, undo, write
from obol.caches.clients.files import ConfigHome
from obol.errors import ObolError
from obol.machine.originals import EditedFile, Originals
from obol.rendering.registries import Mirror
from tests.unit.caches.clients.disk import put

HUB = Mirror("docker.io", "http://127.0.0.1:54100")
QUAY = Mirror("quay.io", "http://127.0.0.1:54102")
MIRRORS = (HUB, QUAY)
CLIENTS: tuple[ClientName, ...] = get_args(ClientName)


@pytest.fixture
def where(tmp_path: Path) -> ConfigHome:
    """A whole machine below a temporary directory."""
    return ConfigHome(tmp_path / "home", per_user=False, root=tmp_path)


@pytest.fixture
def originals(tmp_path: Path) -> Originals:
    """Records of ours."""
    return Originals(tmp_path / "state")


def tree(root: Path) -> dict[str, str]:
    """All files below a directory with their text, and all directories."""
    return {str(path): path.read_text() if path.is_file() else "" for path in root.rglob("*")}


@pytest.mark.parametrize(
    ("client", "system", "user"),
    [
        ("docker", "etc/docker/daemon.json", "home/.config/docker/daemon.json"),
        ("podman", "etc/containers/registries.conf.d/obol.conf", "home/.config/containers/registries.conf.d/obol.conf"),
        ("skopeo", "etc/containers/registries.conf.d/obol.conf", "home/.config/containers/registries.conf.d/obol.conf"),
        ("buildkit", "etc/buildkit/buildkitd.toml", "home/.config/buildkit/buildkitd.toml"),
    ],
)
def test_usual_places(client: ClientName, system: str, user: str, where: ConfigHome, tmp_path: Path) -> None:
    """Each client has a place for the machine and one for a person."""
    assert [one.path for one in setup(client, MIRRORS, where).files] == [tmp_path / system]
    assert roots_of(client, replace(where, per_user=True)) == (tmp_path / user,)


def test_named_places(where: ConfigHome, tmp_path: Path) -> None:
    """A file or a directory that somebody names is used in place of the usual one."""
    named = replace(where, given=tmp_path / "x")

    assert {roots_of(client, named) for client in ("docker", "buildkit", "containerd")} == {(tmp_path / "x",)}
    assert roots_of("podman", named) == (tmp_path / "x/obol.conf",)


@pytest.mark.parametrize("client", CLIENTS)
def test_there_and_back(client: ClientName, where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """What is written is what was shown; written twice it is the same, and undone the machine is as before."""
    (tmp_path / "etc").mkdir()
    wanted = setup(client, MIRRORS, where)

    assert {change.action for change in write(wanted, where, originals)} == {"written"}
    assert [one.path.read_text() for one in wanted.files] == [one.text for one in wanted.files]
    before = tree(tmp_path)
    assert {change.action for change in write(wanted, where, originals)} == {"unchanged"}
    assert tree(tmp_path) == before

    assert {change.action for change in undo(client, where, originals)} == {"removed"}
    assert tree(tmp_path / "etc") == {}
    assert undo(client, where, originals) == ()


def test_docker_keeps_other_settings(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Other keys of daemon.json stay, and an undo after an edit takes out our mirror alone."""
    path = put(tmp_path / "etc/docker/daemon.json", '{"debug": true}')

    write(setup("docker", MIRRORS, where), where, originals)
    assert json.loads(path.read_text()) == {"debug": True, "registry-mirrors": [HUB.endpoint]}
    path.write_text(path.read_text().replace("true", "false"))

    assert [change.action for change in undo("docker", where, originals)] == ["merged"]
    assert path.read_text() == '{"debug": false}'


def test_docker_is_told_of_docker_hub_only(where: ConfigHome) -> None:
    """What Docker does not mirror is said; with nothing that it would mirror there is nothing to do."""
    note, reload = setup("docker", MIRRORS, where).notes

    assert "images of quay.io do not come through the caches" in note
    assert setup("docker", (HUB,), where).notes == (reload,)
    with pytest.raises(ObolError, match="nothing to write for Docker"):
        setup("docker", (QUAY,), where)


def test_restart(where: ConfigHome) -> None:
    """A daemon has to be told; podman, skopeo and containerd read their files at each pull."""
    told = {client: setup(client, MIRRORS, where).restart for client in CLIENTS}

    assert told == {
        "docker": "sudo systemctl restart docker",
        "podman": "",
        "containerd": "",
        "buildkit": "sudo systemctl restart buildkit",
        "skopeo": "",
    }
    own = setup("docker", MIRRORS, replace(where, per_user=True))
    assert own.restart == "systemctl --user restart docker"


@pytest.mark.parametrize("name", ["registries.conf", "registries.conf.d/corporate.conf"])
def test_other_mirrors_of_podman(name: str, where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Where another file has a [[registry]] of the same name, one would win unseen: nothing is written."""
    theirs = put(tmp_path / "etc/containers" / name, '[[registry]]\nprefix = "quay.io"\nlocation = "mirror.example"\n')
    before = tree(tmp_path)

    with pytest.raises(ObolError, match=r"has a \[\[registry\]\] for quay.io") as caught:
        write(setup("podman", MIRRORS, where), where, originals)
    assert str(theirs) in caught.value.why
    assert tree(tmp_path) == before


def test_a_person_over_the_machine(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """A person's file would hide the machine's mirrors; ours of the machine is no such thing."""
    own = replace(where, per_user=True)
    write(setup("podman", MIRRORS, where), where, originals)
    assert [change.action for change in write(setup("podman", MIRRORS, own), own, originals)] == ["written"]
    undo("podman", own, originals)
    theirs = put(tmp_path / "etc/containers/registries.conf", '[[registry]]\nlocation = "docker.io"\n')

    with pytest.raises(ObolError, match=r"registries.conf has a \[\[registry\]\] for docker.io"):
        write(setup("podman", MIRRORS, own), own, originals)
    put(tmp_path / "home/.config/containers/registries.conf", "")  # then podman does not read the machine's
    assert [change.action for change in write(setup("podman", MIRRORS, own), own, originals)] == ["written"]
    assert theirs.exists()


def test_unreadable_registries_conf(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """A file of podman's that is no TOML is told of: podman would not start with it either."""
    put(tmp_path / "etc/containers/registries.conf", "=")

    with pytest.raises(ObolError, match=r"registries.conf cannot be read"):
        write(setup("skopeo", MIRRORS, where), where, originals)


def test_containerd_keeps_other_files(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Other registries and other files stay; a hosts.toml of somebody else stops everything."""
    other = put(tmp_path / "etc/containerd/certs.d/example.com/hosts.toml", "theirs")
    write(setup("containerd", (HUB,), where), where, originals)
    put(tmp_path / "etc/containerd/certs.d/docker.io/ca.crt", "theirs")
    undo("containerd", where, originals)
    assert other.read_text() == "theirs"
    assert [path.name for path in (tmp_path / "etc/containerd/certs.d/docker.io").iterdir()] == ["ca.crt"]

    put(tmp_path / "etc/containerd/certs.d/quay.io/hosts.toml", "theirs")
    with pytest.raises(ObolError, match=r"quay.io/hosts.toml is there already"):
        write(setup("containerd", MIRRORS, where), where, originals)
    assert not (tmp_path / "etc/containerd/certs.d/docker.io/hosts.toml").exists()


def test_one_of_them_was_edited(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Where one file of several was edited, none is undone."""
    write(setup("containerd", MIRRORS, where), where, originals)
    put(tmp_path / "etc/containerd/certs.d/docker.io/hosts.toml", "edited")
    before = tree(tmp_path)

    with pytest.raises(ObolError, match=r"docker.io/hosts.toml was changed after we wrote it"):
        undo("containerd", where, originals)
    assert tree(tmp_path) == before


def test_registry_is_no_longer_served(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """A write takes back what was written for a registry that the caches served before."""
    write(setup("containerd", MIRRORS, where), where, originals)

    changes = write(setup("containerd", (HUB,), where), where, originals)

    assert [change.action for change in changes] == ["removed", "unchanged"]
    assert not (tmp_path / "etc/containerd/certs.d/quay.io").exists()


@pytest.mark.parametrize(
    ("config", "note"),
    [
        (None, '[plugins."io.containerd.grpc.v1.cri".registry] config_path = "'),
        ("version = 3", '[plugins."io.containerd.cri.v1.images".registry] config_path = "'),
        ('version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."x"]\n', "its mirrors section must go"),
        ("=", "cannot be read"),
        ('plugins = "x"', "config_path"),
    ],
)
def test_config_path_is_missing(config: str | None, note: str, where: ConfigHome, tmp_path: Path) -> None:
    """The line that containerd's own configuration lacks is told, and where it belongs."""
    if config is not None:
        put(tmp_path / "etc/containerd/config.toml", config)

    assert note in setup("containerd", MIRRORS, where).notes[-1]


def test_config_path_is_there(where: ConfigHome, tmp_path: Path) -> None:
    """Where containerd reads the directory already, there is nothing to tell."""
    certs = tmp_path / "etc/containerd/certs.d"
    put(
        tmp_path / "etc/containerd/config.toml",
        f'[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/other:{certs}"\n',
    )

    assert not any("config_path" in note for note in setup("containerd", MIRRORS, where).notes)


def test_buildkit_keeps_comments(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """A buildkitd.toml keeps its comments, and comes back to the last byte."""
    path = put(tmp_path / "etc/buildkit/buildkitd.toml", "# mine\n[worker.oci]\n  gc = true # why\n")
    before = path.read_bytes()

    write(setup("buildkit", MIRRORS, where), where, originals)
    assert path.read_bytes().startswith(before)
    assert tomllib.loads(path.read_text())["registry"]["docker.io"] == {"mirrors": ["127.0.0.1:54100"]}
    path.write_text(path.read_text().replace("true", "false"))
    undo("buildkit", where, originals)

    assert path.read_bytes() == before.replace(b"true", b"false")


def test_no_ports(where: ConfigHome) -> None:
    """Without a single port that is known, nothing can be told."""
    with pytest.raises(ObolError, match="ports of the caches are not known"):
        setup("podman", (), where)


def test_docker_is_started_with_a_mirror(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Where dockerd would not start any more nothing is written, and it is shown before that."""
    unit = put(
        tmp_path / "etc/systemd/system/docker.service",
        f"[Service]\nExecStart=/usr/bin/dockerd --registry-mirror=x --config-file={tmp_path}/x.json\n",
    )
    wanted = setup("docker", MIRRORS, where)
    assert [one.path for one in wanted.files] == [tmp_path / "x.json"]
    assert any(note.startswith(f"warning: {unit} starts dockerd with --registry-mirror") for note in wanted.notes)
    before = tree(tmp_path)

    with pytest.raises(ObolError, match="docker has other settings"):
        write(wanted, where, originals)
    assert tree(tmp_path) == before


def test_docker_was_started_otherwise(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """A file that we wrote is found again when dockerd reads another one by then."""
    write(setup("docker", MIRRORS, where), where, originals)
    put(tmp_path / "etc/systemd/system/snap.docker.dockerd.service", "[Service]\nExecStart=/usr/bin/snap run dockerd\n")
    (tmp_path / "home/.docker/desktop").mkdir(parents=True)

    wanted = setup("docker", MIRRORS, where)
    assert wanted.restart == "sudo snap restart docker"
    assert any("Docker Desktop" in note for note in wanted.notes)
    assert any("is started with" in note for note in wanted.notes)
    assert [change.action for change in undo("docker", where, originals)] == ["removed"]


def test_containerd_certificates(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Certificates beside a hosts.toml would count no longer: they are named in it, and that is said."""
    certs = tmp_path / "etc/containerd/certs.d/quay.io"
    for name in ("ca.crt", "me.cert", "me.key"):
        put(certs / name, "")
    (tmp_path / "etc/rancher/k3s").mkdir(parents=True)

    wanted = setup("containerd", MIRRORS, where)
    write(wanted, where, originals)

    written = tomllib.loads((certs / "hosts.toml").read_text())
    assert written["ca"] == [str(certs / "ca.crt")]
    assert written["client"] == [[str(certs / "me.cert"), str(certs / "me.key")]]
    assert any(str(certs / "ca.crt") in note for note in wanted.notes)
    assert any("registries.yaml in rancher/k3s" in note for note in wanted.notes)
    assert "ca" not in tomllib.loads((certs.with_name("docker.io") / "hosts.toml").read_text())


def test_containerd_reads_another_directory(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """The directory is that which containerd reads; another hosts.toml that it reads is not hidden."""
    put(
        tmp_path / "etc/containerd/config.toml",
        f'[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{tmp_path}/x"\n',
    )
    wanted = setup("containerd", MIRRORS, where)
    assert [one.path.parent.parent for one in wanted.files] == [tmp_path / "x"] * 2
    put(tmp_path / "x/_default/hosts.toml", "theirs")

    with pytest.raises(ObolError, match="containerd has other settings"):
        write(wanted, where, originals)


def test_certificate_with_an_odd_name(where: ConfigHome, tmp_path: Path) -> None:
    """A certificate whose name TOML cannot hold is told of."""
    odd = tmp_path / "etc/containerd/certs.d/quay.io" / os.fsdecode(b"\xff.crt")
    odd.parent.mkdir(parents=True)
    odd.touch()

    with pytest.raises(ObolError, match="not UTF-8"):
        setup("containerd", MIRRORS, where)


def test_nerdctl_of_a_person(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Rootless nerdctl reads files of the person."""
    own = replace(where, per_user=True)

    assert len(write(setup("containerd", MIRRORS, own), own, originals)) == 2
    assert (tmp_path / "home/.config/containerd/certs.d/quay.io/hosts.toml").is_file()
    assert len(undo("containerd", own, originals)) == 2


def test_a_write_that_fails_half_way(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Where one of several files cannot be written, none is."""
    wanted = setup("containerd", MIRRORS, where)
    before = tree(tmp_path)
    write_one = Originals.write

    def failing(self: Originals, path: Path, *others: Any) -> EditedFile:
        if "quay.io" in path.parts:
            raise ObolError("full")
        return write_one(self, path, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Originals, "write", failing)
        with pytest.raises(ObolError, match="full"):
            write(wanted, where, originals)

    (tmp_path / "state").rmdir()
    assert tree(tmp_path) == before
    assert undo("containerd", where, originals) == ()


def test_podman_in_both_places(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """With XDG_CONFIG_HOME set, old and new versions of podman look in different places: both are written."""
    own = replace(where, per_user=True, environ={"XDG_CONFIG_HOME": str(tmp_path / "cfg")})
    wanted = setup("podman", MIRRORS, own)

    write(wanted, own, originals)

    assert (tmp_path / "cfg/containers/registries.conf.d/obol.conf").is_file()
    assert (tmp_path / "home/.config/containers/registries.conf.d/obol.conf").is_file()
    assert any("XDG_CONFIG_HOME" in note for note in wanted.notes)
    named = replace(own, environ={"CONTAINERS_REGISTRIES_CONF_DIR": str(tmp_path / "x")})
    assert any("skopeo does not follow it" in note for note in setup("podman", MIRRORS, named).notes)
    assert len(undo("podman", own, originals)) == 2


def test_a_folder_that_cannot_be_seen(where: ConfigHome, originals: Originals, tmp_path: Path) -> None:
    """Where it cannot be seen which certificates there are, the files are shown, with that, and nothing is written."""
    closed = tmp_path / "etc/docker"
    closed.parent.mkdir(parents=True)
    closed.symlink_to(closed)

    wanted = setup("containerd", MIRRORS, where)
    with pytest.raises(ObolError, match="cannot be looked at") as caught:
        write(wanted, where, originals)

    assert "may be missing here" in wanted.notes[1]
    assert "Too many levels" in caught.value.why
    assert not (tmp_path / "etc/containerd").exists()
