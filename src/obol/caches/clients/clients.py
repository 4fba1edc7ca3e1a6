"""The container clients of this machine, and what each has to be told so that it asks the caches first.

A client's files are those of this person or of the whole machine. Nothing is restarted here: that would end containers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from obol.caches.clients import containerd, containers
from obol.caches.clients.docker import SNAP, docker_conflicts, file_of, usual_file
from obol.caches.clients.files import DockerMirror, MarkedBlock, WholeFile
from obol.errors import DependencyMissing, ObolError
from obol.machine.commands import last_line
from obol.machine.regular import explained
from obol.machine.texts import in_shell, shown
from obol.rendering.mirrors import Trust, buildkitd_block, hosts_toml, registries_drop_in

if TYPE_CHECKING:
    from obol.caches.clients.files import ConfigHome
    from obol.machine.commands import Completed, Runner
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
class ClientFile:
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
    files: tuple[ClientFile, ...]
    restart: str
    """The command after which it holds; "" where it holds at once."""
    notes: tuple[str, ...]
    """What it does not do, and what else it takes: a sentence or two each."""
    registries: tuple[str, ...]
    """Those that are mirrored."""


def roots_of(client: ClientName, where: ConfigHome) -> tuple[Path, ...]:
    """The files or directories at or below which all of a client's files are: that which is written, then others.

    Where a client was started otherwise before, a file of ours may be in the usual place, too.
    """
    if client in {"podman", "skopeo"}:
        return tuple(folder / containers.DROP_IN for folder in containers.folders(where))
    if where.given is not None:
        return (where.given,)
    match client:
        case "containerd":
            usual = (where.config if where.per_user else where.etc) / "containerd/certs.d"
            named = () if where.per_user else containerd.settings_of(where).folders
            found = usual if usual in named or not named else named[0]
            return tuple(dict.fromkeys((found, usual)))
        case "docker":
            snap = () if where.per_user else (usual_file("docker", where, SNAP),)
            return tuple(dict.fromkeys((file_of("docker", where), usual_file("docker", where), *snap)))
        case _:
            return tuple(dict.fromkeys((file_of("buildkit", where), usual_file("buildkit", where))))


def setup(client: ClientName, mirrors: Sequence[Mirror], where: ConfigHome) -> Setup:
    """Find out what `client` has to be told. Raises ObolError."""
    if not mirrors:
        raise ObolError(
            "the ports of the caches are not known",
            why="they are left to the system, which has not chosen them yet",
            hint="start the caches once: obol cache start",
        )
    roots = roots_of(client, where)
    match client:
        case "docker":
            files, notes = _docker(mirrors, roots[0], where)
        case "podman" | "skopeo":
            files, notes = _containers(mirrors, roots, where)
        case "containerd":
            files, notes = _containerd(mirrors, roots[0], where)
        case "buildkit":
            files, notes = _buildkit(mirrors, roots[0])
    return Setup(client, files, restart_of(client, where), notes, tuple(mirror.registry for mirror in mirrors))


def restart_of(client: ClientName, where: ConfigHome) -> str:
    """The command after which a client goes by its changed files; "" where it reads them at each pull."""
    if client not in {"docker", "buildkit"}:
        return ""
    if client == "docker" and roots_of("docker", where)[0] == usual_file("docker", where, SNAP):
        return "sudo snap restart docker"
    return f"systemctl --user restart {client}" if where.per_user else f"sudo systemctl restart {client}"


def write(wanted: Setup, where: ConfigHome, originals: Originals) -> tuple[EditedFile, ...]:
    """Let the files say it. What we wrote before for registries that are no longer served goes. Raises ObolError.

    All files are written, or none: what was written before a failure is taken back.
    """
    for one in wanted.files:  # all or none
        originals.check(one.path, one.edit)
    if conflicts := list(_conflicts(wanted, where, originals)):
        raise ObolError(
            f"{wanted.client} has other settings for these registries already",
            why="\n".join(conflicts),
            hint=f"remove them, or add the mirrors there by hand: obol cache config {wanted.client} shows them",
        )
    current = {Path(os.path.realpath(one.path)) for one in wanted.files}
    changed = _changed(wanted.client, where, originals)
    fresh: list[ClientFile] = []
    done: list[EditedFile] = []
    try:
        for one in wanted.files:
            done.append(originals.write(one.path, one.edit, where.owner))
            fresh += [one] if Path(os.path.realpath(one.path)) not in changed else []
    except ObolError:
        for one in reversed(fresh):
            originals.undo(one.path, one.edit)
        raise
    former = [originals.undo(path, _edit_of(wanted.client, str(path))) for path in changed if path not in current]
    return (*former, *done)


def undo(client: ClientName, where: ConfigHome, originals: Originals) -> tuple[EditedFile, ...]:
    """Put back all of a client's files that our records name, also those that settings name no longer.

    Raises ObolError.
    """
    changed = _changed(client, where, originals)
    for path in changed:  # all or none
        originals.check_undo(path, _edit_of(client, str(path)))
    # The last first: a directory that we made for several is empty when the first one goes.
    return tuple(originals.undo(path, _edit_of(client, str(path))) for path in reversed(changed))


def _changed(client: ClientName, where: ConfigHome, originals: Originals) -> tuple[Path, ...]:
    found = (path for root in roots_of(client, where) for path in originals.changed_below(root))
    return tuple(dict.fromkeys(found))


def _edit_of(client: ClientName, path: str) -> Edit:
    match client:
        case "docker":
            return DockerMirror(path, "")
        case "buildkit":
            return MarkedBlock(path, "")
        case _:
            return WholeFile(path, "")


def _docker(mirrors: Sequence[Mirror], path: Path, where: ConfigHome) -> tuple[tuple[ClientFile, ...], tuple[str, ...]]:
    hub = next((mirror for mirror in mirrors if mirror.registry == DOCKER_HUB), None)
    if hub is None:
        raise ObolError(
            "there is nothing to write for Docker",
            why="it takes mirrors for Docker Hub only, and the caches do not serve docker.io",
            hint="add docker.io to the upstreams of the caches",
        )
    others = " and ".join(mirror.registry for mirror in mirrors if mirror.registry != DOCKER_HUB)
    notes = [f"Docker takes mirrors for Docker Hub only: images of {others} do not come through the caches."]
    if path != usual_file("docker", where) and where.given is None:
        notes.append(f"dockerd is started with {shown(path)} as its file of settings.")
    if (where.home / ".docker/desktop").is_dir():
        notes.append(_DESKTOP)
    edit = DockerMirror(str(path), hub.endpoint)
    notes += [f"warning: {conflict}." for conflict in docker_conflicts(path, edit.applied(None), where)]
    return (ClientFile(path, edit),), (*(notes if others else notes[1:]), _RELOAD)


def _containers(
    mirrors: Sequence[Mirror], paths: tuple[Path, ...], where: ConfigHome
) -> tuple[tuple[ClientFile, ...], tuple[str, ...]]:
    notes = ["podman, skopeo and buildah read the same file: obol writes, and undoes, for all three."]
    if not where.per_user:
        notes.append(
            "If you have a registries.conf in ~/.config/containers, use --user: podman then reads only your own files."
        )
    if len(paths) > 1:
        notes.append("Older versions do not follow XDG_CONFIG_HOME, and newer ones do: obol writes for both.")
    if where.given is None and where.environ.get(containers.FOLDER_VARIABLE):
        notes.append(f"{containers.FOLDER_VARIABLE} names the directory; skopeo does not follow it.")
    notes += containers.narrower([mirror.registry for mirror in mirrors], where)
    text = registries_drop_in(mirrors)
    return tuple(ClientFile(path, WholeFile(str(path), text)) for path in paths), tuple(notes)


def _containerd(
    mirrors: Sequence[Mirror], directory: Path, where: ConfigHome
) -> tuple[tuple[ClientFile, ...], tuple[str, ...]]:
    files = []
    settings = containerd.settings_of(where)
    notes = ["nerdctl reads these files as they are; ctr needs --hosts-dir."]
    for mirror in mirrors:
        path = containerd.folder_of(mirror.registry, directory) / containerd.HOSTS
        trust, told = _trusted(mirror.registry, _beside(directory, where))
        notes += told
        try:
            files.append(ClientFile(path, WholeFile(str(path), hosts_toml(mirror, trust))))
        except ValueError as problem:
            raise ObolError(f"{shown(path)} cannot be written", why=str(problem), hint="rename that file") from problem
    if not where.per_user and (note := containerd.config_path_note(settings, directory)):
        notes.append(note)
    notes += [_K3S.format(one) for one in ("rancher/k3s", "rancher/rke2") if (where.etc / one).is_dir()]
    return tuple(files), tuple(notes)


def _beside(directory: Path, where: ConfigHome) -> tuple[Path, ...]:
    """Where else a registry's certificates and hosts.toml are looked for, after this directory."""
    if where.given is not None:
        return (directory,)
    base = where.config if where.per_user else where.etc
    read = () if where.per_user else containerd.settings_of(where).folders
    return tuple(dict.fromkeys((directory, *read, base / "containerd/certs.d", base / "docker/certs.d")))


def _trusted(registry: str, directories: tuple[Path, ...]) -> tuple[Trust, tuple[str, ...]]:
    """The certificates for a registry, with what is to be said of them."""
    try:
        trust = containerd.trust(registry, directories)
    except OSError as problem:  # with --write it stops the command
        denied = f"{shown(problem.filename)} cannot be looked at ({problem.strerror})"
        return Trust(), (f"Certificates for {registry} may be missing here: {denied}. With sudo they are seen.",)
    named = [*trust.authorities, *(one for pair in trust.clients for one in pair)]
    listed = ", ".join(map(shown, named))
    return trust, (f"The certificates for {registry} are named in the file: {listed}.",) if named else ()


def _buildkit(mirrors: Sequence[Mirror], path: Path) -> tuple[tuple[ClientFile, ...], tuple[str, ...]]:
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
    return (ClientFile(path, MarkedBlock(str(path), buildkitd_block(mirrors))),), notes


def _conflicts(wanted: Setup, where: ConfigHome, originals: Originals) -> Iterator[str]:
    """Where the client goes by something else, too, so that ours would break it, or not be seen."""
    match wanted.client:
        case "podman" | "skopeo":
            yield from containers.conflicts(wanted.registries, where)
        case "containerd":
            directory = roots_of("containerd", where)[0]
            with explained(directory, "looked at"):
                for registry in wanted.registries:
                    yield from containerd.conflicts(registry, _beside(directory, where))
        case "docker":
            (file,) = wanted.files
            yield from docker_conflicts(file.path, originals.check(file.path, file.edit), where)
        case "buildkit":
            pass


_WITHIN = 20.0
_NOWHERE = "docker://127.0.0.1:1/nothing"
"""An image on a port at which no server listens: skopeo reads all files of settings before it looks there."""


async def write_checked(
    wanted: Setup, where: ConfigHome, originals: Originals, runner: Runner
) -> tuple[EditedFile, ...]:
    """Let the files say it, and ask the client whether it reads them.

    Raises ObolError, and nothing of ours is in them then.
    """
    changes = write(wanted, where, originals)
    if all(change.action == "unchanged" for change in changes):
        return changes
    try:
        why = await _refusal(wanted, where, runner)
    except asyncio.CancelledError:  # it is not known whether the client would take them
        undo(wanted.client, where, originals)
        raise
    if why:
        undo(wanted.client, where, originals)
        raise ObolError(
            f"{wanted.client} refuses the new files, so obol took out again what it had written",
            why=why,
            hint="mend what it names, and repeat the command",
        )
    return changes


async def _refusal(wanted: Setup, where: ConfigHome, runner: Runner) -> str:
    """What the client says of its files; "" where it reads them, or has no check, or is not here."""
    match wanted.client:
        case "docker":
            return await _dockerd(wanted, runner)
        case "podman" | "skopeo" if where.given is None:
            return await _registries(runner)
        case _:
            return ""


async def _dockerd(wanted: Setup, runner: Runner) -> str:
    for one in wanted.files:
        done = await _run(runner, "dockerd", "--validate", f"--config-file={one.path}")
        # Before version 23 there is no such flag.
        if done is not None and done.code and "unknown flag: --validate" not in done.stderr:
            return last_line(done.stderr, f"`dockerd --validate` ended with {done.code}")
    return ""


async def _registries(runner: Runner) -> str:
    done = await _run(runner, "skopeo", "inspect", _NOWHERE)
    if done is None:
        with tempfile.TemporaryDirectory(prefix="obol-") as aside:  # podman makes its store, wherever it is looked at
            store = ("--root", f"{aside}/root", "--runroot", f"{aside}/run", "--storage-driver", "vfs")
            done = await _run(runner, "podman", *store, "info")
    if done is None or "registries" not in done.stderr:
        return ""
    return last_line(done.stderr, "") if done.code else ""


async def _run(runner: Runner, *argv: str) -> Completed | None:
    """A program that is not here, or does not end, says nothing."""
    try:
        return await runner.run(argv, timeout=_WITHIN)
    except (DependencyMissing, ObolError):
        return None
