"""The container clients of this machine, and what each has to be told so that it asks the caches first.

A client's files are those of this person or of the whole machine. Nothing is restarted here: that would end containers.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from obol.caches.edits import DockerMirror, MarkedBlock, WholeFile
from obol.errors import ObolError
from obol.rendering.buildkitd import buildkitd_block
from obol.rendering.hoststoml import hosts_toml
from obol.rendering.registriesconf import registries_configured, registries_drop_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obol.machine.commands import Account
    from obol.machine.originals import Change, Edit, Originals
    from obol.rendering.registries import Mirror

ClientName = Literal["docker", "podman", "containerd", "buildkit", "skopeo"]

DOCKER_HUB = "docker.io"
DROP_IN = "obol.conf"
ETC = Path("/etc")
_PLUGINS = ("io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri")
"""Whose registry settings count: in a configuration of version 3, and in older ones."""


_RELOAD = (
    "A restart ends containers, unless Docker has live-restore on. `systemctl reload docker` ends none and is enough "
    "for pulls; builds (BuildKit) take the mirror after a restart only."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose configuration is meant, and where it is."""

    home: Path
    per_user: bool
    """This person's, not the machine's."""
    given: Path | None = None
    """A file or directory that somebody named in place of the usual one."""
    etc: Path = field(default_factory=lambda: ETC)
    owner: Account | None = None
    """Whom new files of the person belong to, where sudo made us root."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file, and what is to be in it."""

    path: Path
    edit: Edit

    @property
    def text(self) -> str:
        """The whole file, if it did not exist."""
        return self.edit.applied(None)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that one client needs."""

    client: ClientName
    files: tuple[Wanted, ...]
    restart: str
    """The command after which it holds; "" where it holds at once."""
    notes: tuple[str, ...]
    """What it does not do, and what else it takes: a sentence or two each."""


def root_of(client: ClientName, place: Place) -> Path:
    """The file or directory at or below which all of a client's files are."""
    usual = place.home / ".config" if place.per_user else place.etc
    if client in {"podman", "skopeo"}:
        return (place.given or usual / "containers/registries.conf.d") / DROP_IN
    if place.given is not None:
        return place.given
    match client:
        case "containerd":
            return place.etc / "containerd/certs.d"
        case "docker":
            return usual / "docker/daemon.json"
        case _:
            return usual / "buildkit/buildkitd.toml"


def setup(client: ClientName, mirrors: Sequence[Mirror], place: Place) -> Setup:
    """Find out what `client` has to be told. Raises ObolError."""
    if not mirrors:
        raise ObolError(
            "the ports of the caches are not known",
            why="they are left to the system, which has not chosen them yet",
            hint="start the caches once: obol cache start",
        )
    root = root_of(client, place)
    match client:
        case "docker":
            files, notes = _docker(mirrors, root)
        case "podman" | "skopeo":
            files, notes = _containers(mirrors, root, place)
        case "containerd":
            files, notes = _containerd(mirrors, root, place)
        case "buildkit":
            files, notes = _buildkit(mirrors, root)
    return Setup(client, files, restart_of(client, place), notes)


def restart_of(client: ClientName, place: Place) -> str:
    """The command after which a client goes by its changed files; "" where it reads them at each pull."""
    if client not in {"docker", "buildkit"}:
        return ""
    return f"systemctl --user restart {client}" if place.per_user else f"sudo systemctl restart {client}"


def write(wanted: Setup, place: Place, originals: Originals) -> tuple[Change, ...]:
    """Let the files say it. What we wrote before for registries that are no longer served goes. Raises ObolError."""
    if conflicts := list(_conflicts(wanted, place)):
        raise ObolError(
            f"{wanted.client} has other settings for these registries already",
            why="\n".join(conflicts),
            hint=f"remove them, or add the mirrors there by hand: obol cache config {wanted.client} shows them",
        )
    for one in wanted.files:  # all or none
        originals.check(one.path, one.edit)
    current = {Path(os.path.realpath(one.path)) for one in wanted.files}
    changed = originals.changed_below(root_of(wanted.client, place))
    former = [originals.undo(path, WholeFile(str(path), "")) for path in changed if path not in current]
    return (*former, *(originals.write(one.path, one.edit, place.owner) for one in wanted.files))


def undo(client: ClientName, place: Place, originals: Originals) -> tuple[Change, ...]:
    """Put all of a client's files back that we changed, whatever the settings say now. Raises ObolError."""
    changed = originals.changed_below(root_of(client, place))
    for path in changed:  # all or none
        originals.check_undo(path, _edit_of(client, str(path)))
    # The last first: a directory that we made for several is empty when the first one goes.
    return tuple(originals.undo(path, _edit_of(client, str(path))) for path in reversed(changed))


def _edit_of(client: ClientName, path: str) -> Edit:
    match client:
        case "docker":
            return DockerMirror(path, "")
        case "buildkit":
            return MarkedBlock(path, "")
        case _:
            return WholeFile(path, "")


def _docker(mirrors: Sequence[Mirror], path: Path) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    hub = next((mirror for mirror in mirrors if mirror.registry == DOCKER_HUB), None)
    if hub is None:
        raise ObolError(
            "there is nothing that Docker could be told",
            why="it takes mirrors for Docker Hub only, and the caches do not serve docker.io",
            hint="add docker.io to the upstreams of the caches",
        )
    others = " and ".join(mirror.registry for mirror in mirrors if mirror.registry != DOCKER_HUB)
    note = f"Docker takes mirrors for Docker Hub only: images of {others} do not come through the caches."
    notes = (*([note] if others else []), _RELOAD)
    return (Wanted(path, DockerMirror(str(path), hub.endpoint)),), notes


def _containers(mirrors: Sequence[Mirror], path: Path, place: Place) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    notes = ["podman, skopeo and buildah read the same file: it is written, and undone, for all three."]
    if not place.per_user:
        notes.append("Whoever has a registries.conf in ~/.config/containers needs it there: --user.")
    return (Wanted(path, WholeFile(str(path), registries_drop_in(mirrors))),), tuple(notes)


def _containerd(mirrors: Sequence[Mirror], directory: Path, place: Place) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    files = []
    for mirror in mirrors:
        path = directory / mirror.registry / "hosts.toml"
        files.append(Wanted(path, WholeFile(str(path), hosts_toml(mirror))))
    note = _config_path_note(place.etc / "containerd/config.toml", directory)
    return tuple(files), ("nerdctl reads these files as they are; ctr needs --hosts-dir.", *([note] if note else []))


def _buildkit(mirrors: Sequence[Mirror], path: Path) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    notes = (
        (
            "This is for a buildkitd on this machine's own network. `docker build` with Docker's own builder goes by "
            "Docker's mirrors: obol cache config docker."
        ),
        (
            "A builder in a container is given the file when it is made: docker buildx create --driver-opt "
            f"network=host --buildkitd-config {path}"
        ),
    )
    return (Wanted(path, MarkedBlock(str(path), buildkitd_block(mirrors))),), notes


def _conflicts(wanted: Setup, place: Place) -> Iterator[str]:
    """Where other files of podman and skopeo speak of the same registries: one of the two would win, unseen."""
    if wanted.client not in {"podman", "skopeo"}:
        return
    (own,) = wanted.files
    named = registries_configured(own.text)
    for path in _registries_files(own.path.parent, place):
        try:
            theirs = registries_configured(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            yield f"{path} cannot be read: {problem}"
            continue
        for name in sorted(theirs & named):
            yield f"{path} has a [[registry]] for {name}"


def _registries_files(drop_ins: Path, place: Place) -> list[Path]:
    """All that podman would read besides ours: the machine's files too, for a person without registries.conf."""
    main = drop_ins.with_name("registries.conf")
    files = [main, *sorted(drop_ins.glob("*.conf"))]
    if place.per_user and place.given is None and not main.exists():
        machine = place.etc / "containers"
        files += [machine / "registries.conf", *sorted((machine / "registries.conf.d").glob("*.conf"))]
    return [path for path in files if path.name != DROP_IN and path.is_file()]


def _config_path_note(config: Path, directory: Path) -> str:
    """What containerd's own configuration lacks; "" where it reads the directory."""
    try:
        written = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        written = {}
    except (OSError, ValueError) as problem:
        return f'{config} cannot be read ({problem}): its registry section needs config_path = "{directory}".'
    sections = [_table(written, "plugins", plugin, "registry") for plugin in _PLUGINS]
    if any(str(directory) in str(section.get("config_path", "")).split(":") for section in sections):
        return ""
    header = f'[plugins."{_PLUGINS[0 if written.get("version") == 3 else 1]}".registry]'
    clash = "; its mirrors section must go then" if any("mirrors" in section for section in sections) else ""
    return (
        f"For Kubernetes (CRI), containerd reads these files only with this in {config}{clash}, and after `sudo "
        f'systemctl restart containerd`: {header} config_path = "{directory}"'
    )


def _table(written: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    """A table within tables; an empty one where anything else stands."""
    found: object = written
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
