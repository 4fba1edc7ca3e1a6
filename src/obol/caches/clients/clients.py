"""The container clients of this machine, and what each has to be told so that it asks the caches first.

A client's files are those of this person or of the whole machine. Nothing is restarted here: that would end containers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from obol.caches.clients import containerd, containers
from obol.caches.clients.docker import SNAP, docker_conflicts, file_of, usual_file
from obol.caches.clients.edits import DockerMirror, MarkedBlock, WholeFile
from obol.errors import ObolError
from obol.machine.regular import explained
from obol.machine.texts import in_shell, shown
from obol.rendering.mirrors import Trust, buildkitd_block, hosts_toml, registries_drop_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obol.caches.clients.place import Place
    from obol.machine.originals import Edit, EditedFile, Originals
    from obol.rendering.registries import Mirror

ClientName = Literal["docker", "podman", "containerd", "buildkit", "skopeo"]

DOCKER_HUB = "docker.io"

_RELOAD = (
    "A restart ends containers, unless Docker has live-restore on. `systemctl reload docker` ends none and is enough "
    "for pulls; builds (BuildKit) take the mirror after a restart only."
)
_DESKTOP = (
    "Docker Desktop runs dockerd in a virtual machine, which reads ~/.docker/daemon.json and has its own "
    "loopback: it does not reach the caches."
)
_K3S = (
    "k3s and RKE2 write the configuration of their own containerd anew at each start: put their mirrors into "
    "registries.yaml in {}."
)


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
    registries: tuple[str, ...]
    """Those that are mirrored."""


def roots_of(client: ClientName, place: Place) -> tuple[Path, ...]:
    """The files or directories at or below which all of a client's files are: that which is written, then others.

    Where a client was started otherwise before, a file of ours may be in the usual place, too.
    """
    if client in {"podman", "skopeo"}:
        return tuple(folder / containers.DROP_IN for folder in containers.folders(place))
    if place.given is not None:
        return (place.given,)
    match client:
        case "containerd":
            usual = (place.config if place.per_user else place.etc) / "containerd/certs.d"
            named = () if place.per_user else containerd.settings_of(place).folders
            found = usual if usual in named or not named else named[0]
            return tuple(dict.fromkeys((found, usual)))
        case "docker":
            snap = () if place.per_user else (usual_file("docker", place, SNAP),)
            return tuple(dict.fromkeys((file_of("docker", place), usual_file("docker", place), *snap)))
        case _:
            return tuple(dict.fromkeys((file_of("buildkit", place), usual_file("buildkit", place))))


def setup(client: ClientName, mirrors: Sequence[Mirror], place: Place) -> Setup:
    """Find out what `client` has to be told. Raises ObolError."""
    if not mirrors:
        raise ObolError(
            "the ports of the caches are not known",
            why="they are left to the system, which has not chosen them yet",
            hint="start the caches once: obol cache start",
        )
    roots = roots_of(client, place)
    match client:
        case "docker":
            files, notes = _docker(mirrors, roots[0], place)
        case "podman" | "skopeo":
            files, notes = _containers(mirrors, roots, place)
        case "containerd":
            files, notes = _containerd(mirrors, roots[0], place)
        case "buildkit":
            files, notes = _buildkit(mirrors, roots[0])
    return Setup(client, files, restart_of(client, place), notes, tuple(mirror.registry for mirror in mirrors))


def restart_of(client: ClientName, place: Place) -> str:
    """The command after which a client goes by its changed files; "" where it reads them at each pull."""
    if client not in {"docker", "buildkit"}:
        return ""
    if client == "docker" and roots_of("docker", place)[0] == usual_file("docker", place, SNAP):
        return "sudo snap restart docker"
    return f"systemctl --user restart {client}" if place.per_user else f"sudo systemctl restart {client}"


def write(wanted: Setup, place: Place, originals: Originals) -> tuple[EditedFile, ...]:
    """Let the files say it. What we wrote before for registries that are no longer served goes. Raises ObolError.

    All files are written, or none: what was written before a failure is taken back.
    """
    for one in wanted.files:  # all or none
        originals.check(one.path, one.edit)
    if conflicts := list(_conflicts(wanted, place, originals)):
        raise ObolError(
            f"{wanted.client} has other settings for these registries already",
            why="\n".join(conflicts),
            hint=f"remove them, or add the mirrors there by hand: obol cache config {wanted.client} shows them",
        )
    current = {Path(os.path.realpath(one.path)) for one in wanted.files}
    changed = _changed(wanted.client, place, originals)
    fresh: list[Wanted] = []
    done: list[EditedFile] = []
    try:
        for one in wanted.files:
            done.append(originals.write(one.path, one.edit, place.owner))
            fresh += [one] if Path(os.path.realpath(one.path)) not in changed else []
    except ObolError:
        for one in reversed(fresh):
            originals.undo(one.path, one.edit)
        raise
    former = [originals.undo(path, _edit_of(wanted.client, str(path))) for path in changed if path not in current]
    return (*former, *done)


def undo(client: ClientName, place: Place, originals: Originals) -> tuple[EditedFile, ...]:
    """Put all of a client's files back that we changed, whatever the settings say now. Raises ObolError."""
    changed = _changed(client, place, originals)
    for path in changed:  # all or none
        originals.check_undo(path, _edit_of(client, str(path)))
    # The last first: a directory that we made for several is empty when the first one goes.
    return tuple(originals.undo(path, _edit_of(client, str(path))) for path in reversed(changed))


def _changed(client: ClientName, place: Place, originals: Originals) -> tuple[Path, ...]:
    found = (path for root in roots_of(client, place) for path in originals.changed_below(root))
    return tuple(dict.fromkeys(found))


def _edit_of(client: ClientName, path: str) -> Edit:
    match client:
        case "docker":
            return DockerMirror(path, "")
        case "buildkit":
            return MarkedBlock(path, "")
        case _:
            return WholeFile(path, "")


def _docker(mirrors: Sequence[Mirror], path: Path, place: Place) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    hub = next((mirror for mirror in mirrors if mirror.registry == DOCKER_HUB), None)
    if hub is None:
        raise ObolError(
            "there is nothing to write for Docker",
            why="it takes mirrors for Docker Hub only, and the caches do not serve docker.io",
            hint="add docker.io to the upstreams of the caches",
        )
    others = " and ".join(mirror.registry for mirror in mirrors if mirror.registry != DOCKER_HUB)
    notes = [f"Docker takes mirrors for Docker Hub only: images of {others} do not come through the caches."]
    if path != usual_file("docker", place) and place.given is None:
        notes.append(f"dockerd is started with {shown(path)} as its file of settings.")
    if (place.home / ".docker/desktop").is_dir():
        notes.append(_DESKTOP)
    edit = DockerMirror(str(path), hub.endpoint)
    notes += [f"warning: {conflict}." for conflict in docker_conflicts(path, edit.applied(None), place)]
    return (Wanted(path, edit),), (*(notes if others else notes[1:]), _RELOAD)


def _containers(
    mirrors: Sequence[Mirror], paths: tuple[Path, ...], place: Place
) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    notes = ["podman, skopeo and buildah read the same file: obol writes, and undoes, for all three."]
    if not place.per_user:
        notes.append(
            "If you have a registries.conf in ~/.config/containers, use --user: podman then reads only your own files."
        )
    if len(paths) > 1:
        notes.append("Older versions do not follow XDG_CONFIG_HOME, and newer ones do: obol writes for both.")
    if place.given is None and place.environ.get(containers.FOLDER_VARIABLE):
        notes.append(f"{containers.FOLDER_VARIABLE} names the directory; skopeo does not follow it.")
    notes += containers.narrower([mirror.registry for mirror in mirrors], place)
    text = registries_drop_in(mirrors)
    return tuple(Wanted(path, WholeFile(str(path), text)) for path in paths), tuple(notes)


def _containerd(mirrors: Sequence[Mirror], directory: Path, place: Place) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    files = []
    settings = containerd.settings_of(place)
    notes = ["nerdctl reads these files as they are; ctr needs --hosts-dir."]
    for mirror in mirrors:
        path = containerd.folder_of(mirror.registry, directory) / containerd.HOSTS
        trust, told = _trusted(mirror.registry, _beside(directory, place))
        notes += told
        try:
            files.append(Wanted(path, WholeFile(str(path), hosts_toml(mirror, trust))))
        except ValueError as problem:
            raise ObolError(f"{shown(path)} cannot be written", why=str(problem), hint="rename that file") from problem
    if not place.per_user and (note := containerd.config_path_note(settings, directory)):
        notes.append(note)
    notes += [_K3S.format(one) for one in ("rancher/k3s", "rancher/rke2") if (place.etc / one).is_dir()]
    return tuple(files), tuple(notes)


def _beside(directory: Path, place: Place) -> tuple[Path, ...]:
    """Where else a registry's certificates and hosts.toml are looked for, after this directory."""
    if place.given is not None:
        return (directory,)
    base = place.config if place.per_user else place.etc
    read = () if place.per_user else containerd.settings_of(place).folders
    return tuple(dict.fromkeys((directory, *read, base / "containerd/certs.d", base / "docker/certs.d")))


def _trusted(registry: str, directories: tuple[Path, ...]) -> tuple[Trust, tuple[str, ...]]:
    """The certificates for a registry, with what is to be said of them."""
    try:
        trust = containerd.trust(registry, directories)
    except OSError as problem:  # who writes is told again, and stopped
        denied = f"{shown(problem.filename)} cannot be looked at ({problem.strerror})"
        return Trust(), (f"Certificates for {registry} may be missing here: {denied}. With sudo they are seen.",)
    named = [*trust.authorities, *(one for pair in trust.clients for one in pair)]
    listed = ", ".join(map(shown, named))
    return trust, (f"The certificates for {registry} are named in the file: {listed}.",) if named else ()


def _buildkit(mirrors: Sequence[Mirror], path: Path) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    notes = (
        (
            "This is for a buildkitd on this machine's own network. `docker build` with Docker's own builder uses "
            "Docker's mirrors: obol cache config docker."
        ),
        (
            "A builder in a container gets the file when you make it: docker buildx create --driver-opt "
            f"network=host --buildkitd-config {in_shell(path)}"
        ),
    )
    return (Wanted(path, MarkedBlock(str(path), buildkitd_block(mirrors))),), notes


def _conflicts(wanted: Setup, place: Place, originals: Originals) -> Iterator[str]:
    """Where the client goes by something else, too, so that ours would break it, or not be seen."""
    match wanted.client:
        case "podman" | "skopeo":
            yield from containers.conflicts(wanted.registries, place)
        case "containerd":
            directory = roots_of("containerd", place)[0]
            with explained(directory, "looked at"):
                for registry in wanted.registries:
                    yield from containerd.conflicts(registry, _beside(directory, place))
        case "docker":
            (file,) = wanted.files
            yield from docker_conflicts(file.path, originals.check(file.path, file.edit), place)
        case "buildkit":
            pass
